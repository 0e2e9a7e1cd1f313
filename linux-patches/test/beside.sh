. /root/lib.sh
ping_ok() { ping -c 2 -W 3 $1 > /tmp/ping.log 2>&1 && echo "PASS ping $2" || { echo "FAIL ping $2"; }; }
dd if=/dev/zero of=/tmp/disk bs=1M count=8 2>/dev/null; losetup /dev/loop0 /tmp/disk
dd if=/dev/zero of=/tmp/disk2 bs=1M count=8 2>/dev/null; losetup /dev/loop1 /tmp/disk2
devices() {
    nx add $1 sysctl 0
    nx add $1 vif 0 mac=00:16:3e:00:00:0$1 handle=0 -- script=none bridge=xenbr0
    nx add $1 vbd 51712 mode=w device-type=disk -- physical-device=7:0 params=/tmp/disk dev=xvda
    vif_up $1 0
}
start noxs pvh 80 addr=10.77.0.12; noxs=$id
wait_for GUEST-READY /tmp/noxs.log 900; ping_ok 10.77.0.12 "noxs guest, no xenstored"
echo === xenstored beside
mkdir -p /var/run/xenstored /run/xenstored /var/lib/xenstored
xenstored --pid-file /var/run/xenstored.pid; sleep 2; ps | grep xenstored | head -3
xenstore-write /local/domain/0/domid 0 /local/domain/0/name Domain-0 /tool/x 1; xenstore-ls
for kind in pv pvh; do
set -- $(STORE=1 nx create $kind 80 /root/vmlinux /root/guest.cpio "console=hvc0 quiet loglevel=6 panic=-1 addr=10.77.0.13"); id=$1
F=/local/domain/$id; 
xenstore-write $F/domid $id $F/name xs; xenstore-write $F/control/shutdown "" ; xenstore-chmod $F n0 r$id; xenstore-chmod $F/control n0 b$id;  xenstore-chmod $F/control/shutdown b$id
add_xs() { # CLASS ID FE.. 
    f=$F/device/$1/$2; b=/local/domain/0/backend/$1/$id/$2
    xenstore-write $b/frontend $f $b/frontend-id $id $b/online 1 $f/backend $b $f/backend-id 0
    xenstore-chmod $f n$id r0; xenstore-chmod $f/backend n0 r$id; xenstore-chmod $b n0 r$id
}
b=/local/domain/0/backend/vif/$id/0; add_xs vif 0
xenstore-write $F/device/vif/0/handle 0 $F/device/vif/0/mac 00:16:3e:00:02:0$id $F/device/vif/0/state 1
xenstore-write $b/handle 0 $b/mac 00:16:3e:00:02:0$id $b/script none $b/state 1
b=/local/domain/0/backend/vbd/$id/51712; add_xs vbd 51712
xenstore-write $F/device/vbd/51712/virtual-device 51712 $F/device/vbd/51712/device-type disk $F/device/vbd/51712/state 1
xenstore-write $b/mode w $b/dev xvda $b/physical-device 7:1 $b/params /tmp/disk2 $b/state 1
for p in $F/device/vif/0 $F/device/vbd/51712; do for k in state handle mac virtual-device device-type backend-id; do xenstore-chmod $p/$k n$id r0 2>/dev/null; done; done
nx introduce $id $4 $5 || echo FAIL introduce
n=0; until [ -e /sys/class/net/vif$id.0 ]; do n=$((n+1)); [ $n -lt 100 ] || { echo "FAIL no vif$id.0"; break; }; usleep 100000; done
brctl addif xenbr0 vif$id.0; ifconfig vif$id.0 up; xenstore-write /local/domain/0/backend/vif/$id/0/hotplug-status connected
nx run $1 $2 $3 > /tmp/xs.log 2>&1 &
wait_for GUEST-READY /tmp/xs.log 900; grep GUEST /tmp/xs.log; ping_ok 10.77.0.13 "xenstore guest $kind"
ping_ok 10.77.0.12 "noxs guest beside"
nx list
xenstore-ls /local/domain/0/backend | head -60
[ $kind = pv ] && { nx add $noxs vif 1 mac=00:16:3e:00:03:01 handle=1 -- script=none; vif_up $noxs 1; sleep 3; nx list; nx del $noxs vif 1 10000; }
xenstore-write $F/control/shutdown poweroff
wait_for "has shut down, reason 0" /tmp/xs.log
xenstore-write /local/domain/0/backend/vif/$id/0/online 0
nx kill $id; xenstore-ls $F | head -5; xenstore-write /x 1
for c in vif/$id/0 vbd/$id/51712; do xenstore rm /local/domain/0/backend/$c 2>/dev/null || xenstore-rm /local/domain/0/backend/$c; done
: > /tmp/xs.log
done
nx set $noxs sysctl 0 shutdown=poweroff shutdown-request=1
wait_for "has shut down, reason 0" /tmp/noxs.log
nx list; for d in "vif 0" "vbd 51712" "sysctl 0"; do nx del $noxs $d force 5000; done; nx kill $noxs; nx list
sleep 2; ls /sys/class/net; dmesg | grep -v "entered\|left" | tail -12
