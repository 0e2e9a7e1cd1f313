# start NAME KIND MIB CMDLINE: creates a guest, whose id is then in $id; devices are added by the function devices
start() {
    set -- "$1" "$2" "$3" "$4" $(nx create "$2" "$3" /root/vmlinux /root/guest.cpio "console=hvc0 quiet loglevel=6 panic=-1 $4")
    id=$5; frame=$6; port=$7
    [ -n "$id" ] || { echo "FAIL create $1"; return 1; }
    devices $id
    nx run $id $frame $port > /tmp/$1.log 2>&1 &
}
wait_for() { # TEXT FILE [TENTHS]
    n=0
    until grep -q "$1" "$2" 2>/dev/null; do
        n=$((n+1)); [ $n -lt ${3:-300} ] || { echo "FAIL: no $1 in $2"; tail -5 $2; return 1; }
        usleep 100000
    done
}
vif_up() { # DOM ID
    n=0; until [ -e /sys/class/net/vif$1.$2 ]; do n=$((n+1)); [ $n -lt 100 ] || { echo "FAIL no vif$1.$2"; return 1; }; usleep 50000; done
    brctl addif xenbr0 vif$1.$2; ifconfig vif$1.$2 up
    nx set $1 vif $2 private hotplug-status=connected
}
