. /root/lib.sh
ping_ok() { ping -c 2 -W 3 $1 > /tmp/ping.log 2>&1 && echo "PASS ping $2" || { echo "FAIL ping $2"; }; }
devices() {
    nx add $1 sysctl 0
    nx add $1 vif 0 mac=00:16:3e:00:00:0$1 handle=0 -- script=none bridge=xenbr0
    nx add $1 vbd 51712 mode=w device-type=disk -- physical-device=7:0 params=/tmp/disk dev=xvda
    vif_up $1 0
}
dd if=/dev/zero of=/tmp/disk bs=1M count=8 2>/dev/null; losetup /dev/loop0 /tmp/disk
start bad pvh 80 "addr=10.77.0.12 hostile"; bad=$id
wait_for GUEST-READY /tmp/bad.log 900
sed -n '/== xenstore/,/GUEST-READY/p' /tmp/bad.log
nx watch 1000 > /tmp/watch.log &
watch=$!
wait_for "SCRIBBLE done" /tmp/bad.log 600; grep SCRIBBLE /tmp/bad.log
kill $watch; sort /tmp/watch.log | uniq -c | sort -rn | head -12
nx list; cat /proc/loadavg; grep noxs /proc/interrupts
nx read $bad vif 0 | head -30
for d in "vif 0" "vbd 51712" "sysctl 0"; do nx del $bad $d 2000 || nx del $bad $d force 5000; done; nx kill $bad; nx list
devices() { nx add $1 sysctl 0; nx add $1 vif 0 mac=00:16:3e:00:00:0$1 handle=0 -- script=none; vif_up $1 0; }
start good pv 80 addr=10.77.0.13
wait_for GUEST-READY /tmp/good.log 900; ping_ok 10.77.0.13 "guest after the hostile one"
sleep 2; ls /sys/class/net; dmesg | grep -v "entered\|left" | tail -25
