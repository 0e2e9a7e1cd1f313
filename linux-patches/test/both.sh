. /root/lib.sh
dd if=/dev/zero of=/tmp/disk bs=1M count=8 2>/dev/null; losetup -f > /dev/null; losetup /dev/loop0 /tmp/disk
devices() {
    nx add $1 sysctl 0
    nx add $1 vif 0 mac=00:16:3e:00:00:0$1 handle=0 -- script=none bridge=xenbr0
    nx add $1 vbd 51712 mode=w device-type=disk -- physical-device=7:0 params=/tmp/disk dev=xvda
    vif_up $1 0
}
ping_ok() { ping -c 2 -W 3 $1 > /tmp/ping.log 2>&1 && echo "PASS ping $2" || { echo "FAIL ping $2"; nx list; tail -3 /tmp/$kind.log; }; }
for kind in ${KINDS:-pv pvh}; do
addr=10.77.0.12; 
start $kind $kind 80 addr=$addr
wait_for GUEST-READY /tmp/$kind.log 900 || grep -v CPUID /tmp/$kind.log
grep -E "GUEST|vbd-" /tmp/$kind.log
echo === hotplug $kind
nx add $id vif 1 mac=00:16:3e:00:01:01 handle=1 -- script=none
vif_up $id 1; sleep 3
nx del $id vif 1 force 5000
sleep 2; nx add $id vif 1 mac=00:16:3e:00:01:02 handle=1 -- script=none
vif_up $id 1; sleep 4; nx del $id vif 1 10000
nx del $id vbd 51712 10000
nx add $id vbd 51712 mode=w device-type=disk -- physical-device=7:0 params=/tmp/disk dev=xvda
echo === target $kind
nx set $id sysctl 0 target=71680
sleep 7; tail -1 /tmp/$kind.log
ping_ok $addr before
echo === suspend, cancelled $kind
nx set $id sysctl 0 shutdown=suspend shutdown-request=1
wait_for "has shut down, reason 2" /tmp/$kind.log 600
nx read $id sysctl 0 | grep -E "ack|refused"
nx run $id $frame $port >> /tmp/$kind.log 2>&1 &
sleep 1; nx resume $id
sleep 4; ping_ok $addr after-cancel
nx list
echo === save $kind
nx save $id /tmp/image 2>/dev/null; nx list
for d in "vif 0" "vbd 51712" "sysctl 0"; do nx del $id $d force 5000; done
nx kill $id; sleep 1
set -- $(nx restore $kind 80 /tmp/image 2>/tmp/restore.log); id=$1; echo "restored as $id"
devices $id
nx run $1 $2 $3 >> /tmp/$kind.log 2>&1 &
sleep 8; ping_ok $addr after-restore
nx list; tail -2 /tmp/$kind.log
echo === reboot $kind
nx set $id sysctl 0 shutdown=reboot shutdown-request=1
wait_for "has shut down, reason 1" /tmp/$kind.log
tail -2 /tmp/$kind.log
nx kill $id
for d in "vif 0" "vbd 51712" "sysctl 0"; do nx del $id $d force 5000; done
nx list
done
sleep 2; ls /sys/class/net; losetup -d /dev/loop0 && echo LOOP-FREE
grep -c . /proc/interrupts; grep noxs /proc/interrupts
dmesg | grep -v "entered\|left" | tail -20
