. /root/lib.sh
dd if=/dev/zero of=/tmp/disk bs=1M count=8 2>/dev/null; losetup /dev/loop0 /tmp/disk
devices() {
    nx add $1 sysctl 0
    nx add $1 vif 0 mac=00:16:3e:00:00:0$1 handle=0 -- script=none bridge=xenbr0
    nx add $1 vbd 51712 mode=w device-type=disk -- physical-device=7:0 params=/tmp/disk dev=xvda
    vif_up $1 0
}
(sleep 120; echo "=== watchdog"; grep -v CPUID /tmp/pvh.log; nx list; dmesg | tail -20) &
start pvh pvh 96 addr=10.77.0.12
echo D
wait_for GUEST-READY /tmp/pvh.log 900
cat /tmp/pvh.log | grep -v CPUID
nx read $id vbd 51712
echo === hotplug
nx add $id vif 1 mac=00:16:3e:00:01:01 handle=1 -- script=none
wait_for "vif-1" /tmp/pvh.log
vif_up $id 1
sleep 3; nx del $id vif 1 10000
sleep 5; nx add $id vif 1 mac=00:16:3e:00:01:02 handle=1 -- script=none
sleep 6; tail -3 /tmp/pvh.log; nx list
nx del $id vif 1 force 3000
echo === target
nx set $id sysctl 0 target=81920
sleep 7; tail -2 /tmp/pvh.log
echo === reboot
nx set $id sysctl 0 shutdown=reboot shutdown-request=1
wait_for "has shut down" /tmp/pvh.log
tail -3 /tmp/pvh.log
nx read $id sysctl 0
nx list
nx kill $id
nx del $id vif 0 force; nx del $id vbd 51712 force; nx del $id sysctl 0 force
nx list
sleep 2; ls /sys/class/net; losetup -d /dev/loop0 && echo LOOP-FREE
dmesg | tail -20
