#!/bin/sh
# In the dom0 of a hypervisor with NoXS, with xl: shows both guests their devices, and tries every answer of the
# control operations. The last line is "passed" or "failed"; run it from the folder that build.sh has filled.
cd "$(dirname "$0")" || exit 2
failed=0

fail() {
    echo "FAIL $*"
    failed=1
}

wait_for() { # TEXT FILE
    n=0
    until grep -q "$1" "$2" 2>/dev/null; do
        n=$((n + 1))
        [ $n -lt 150 ] || { fail "no '$1' in $2, which ends:"; tail -4 "$2"; return; }
        sleep 0.2
    done
}

create() { # NAME KIND MEMORY XL-OPTIONS
    printf 'name="%s"\ntype="%s"\nkernel="%s"\nmemory=%s\nvcpus=1\non_poweroff="preserve"\non_crash="preserve"\n' \
        "$1" "$2" "$PWD/$2" "$3" > "$1.cfg"
    xl create -q $4 "$1.cfg" || fail "xl create $1"
}

generation() {
    ./control list "$1" | sed -n 's/^list: 0, generation \([0-9]*\),.*/\1/p'
}

free_memory() {
    xl info | sed -n 's/^free_memory *: //p'
}

xl info | grep -E '^xen_(version|extra)'
./control query || fail query
xl dmesg -c > /dev/null
before=$(free_memory)

for kind in pv pvh; do
    log=$PWD/$kind.log
    : > "$log"
    create "t-$kind" $kind 16
    dom=$(xl domid "t-$kind")
    (timeout 120 xl console "t-$kind" < /dev/null >> "$log" 2>&1 &)
    wait_for 'map: -2' "$log"
    ./control add "$dom" vif 0 0
    wait_for '^1 devices' "$log"
    ./control add "$dom" vbd 51712 0
    wait_for '^2 devices' "$log"
    ./control remove "$dom" vif 0 0
    wait_for 'generation 3' "$log"
    ./control add "$dom" vif 0 0
    wait_for 'slot 0: vif 0, .* sequence 3' "$log"
    ./control storm "$dom" 500 || fail storm
    wait_for "generation $(generation "$dom")" "$log"
    ./control list "$dom"
    ./control add "$dom" stop 0 0
    wait_for NOXS-GUEST-DONE "$log"
    sed "s/^/$kind: /" "$log" | grep -v storm | awk '!/generation|devices|slot/ || n++ < 18'
    case $kind in
        pv) grep -q 'map writable: -' "$log" || fail "the PV guest could map its page writable" ;;
        pvh)
            grep -q 'after a write the magic begins with 78' "$log" || fail "the PVH guest could write its page"
            grep -q '^move as memory: 0' "$log" || fail "the PVH guest could not move its page"
            ;;
    esac
    n=0
    until xl list "t-$kind" | grep -q -- '---s--'; do
        n=$((n + 1))
        [ $n -lt 50 ] || { fail "t-$kind does not end"; break; }
        sleep 0.2
    done
    if [ $kind = pvh ]; then
        xl pause "t-$kind"
        old=$(generation "$dom")
        ./control reset "$dom" || fail "soft reset"
        ./control list "$dom" | grep -q ' 0 devices' || fail "devices after a soft reset"
        [ "$(generation "$dom")" = $((old + 3)) ] || fail "generation after a soft reset"
    fi
    xl destroy "t-$kind"
done

create c pvh 8 -p
./control check "$(xl domid c)" || fail check
xl destroy c
for i in 1 2 3 4 5 6 7 8 9 10; do
    create c pvh 8 -p
    ./control add "$(xl domid c)" vif 0 0 > /dev/null || fail "add $i"
    xl destroy c
done
sleep 2
after=$(free_memory)
[ "$before" = "$after" ] || fail "free memory was $before MiB and is $after MiB"
xl list
xl dmesg | grep -iE 'assert|bug at|panic|crash|warn' && fail "the hypervisor complains"
[ $failed = 0 ] && echo passed || echo failed
exit $failed
