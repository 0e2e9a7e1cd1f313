# The demo on Debian's own Xen and kernel, behind demo-common.sh.

log_of() { # NAME
	echo "/var/log/xen/console/guest-$1.log"
}

say "Eight guests, made and destroyed by chaos and by xl (milliseconds, $clock); daytime and linux have an interface"
printf '  %-10s %13s %10s %7s %15s %11s\n' guest 'chaos create' 'xl create' ratio 'chaos destroy' 'xl destroy'
compare() { # GUEST: fills `times`
	times=()
	timed chaos create "$1.json"; times+=("$took")
	timed chaos destroy "$1"; times+=("$took")
	timed xl create "$1.cfg"; times+=("$took")
	timed xl destroy "$1"; times+=("$took")
}
# Once for nothing, so that everything has been read from the disk before.
cat /guests/linux-vmlinux /guests/linux-initramfs >/dev/null
compare noop-pv
for guest in $guests; do
	compare "$guest"
	ratio=$((times[2] * 10 / times[0]))
	printf '  %-10s %13s %10s %5s.%s %15s %11s\n' "$guest" "$(ms "${times[0]}")" "$(ms "${times[2]}")" \
		$((ratio / 10)) $((ratio % 10)) "$(ms "${times[1]}")" "$(ms "${times[3]}")"
done

rm -f /var/log/xen/console/guest-*.log
say 'The same again with chaos, to stay: noop (blocks at once), hello (talks), daytime (on the network) and a small Linux; each as PV and as PVH'
for guest in $guests; do
	chaos create "$guest.json"
done

say 'chaos list'
chaos list

say "xl list: Xen's own tool sees the same guests"
xl list

say 'What they say on their consoles (noop says nothing: it is asleep)'
talk

say 'Destroying them'
for guest in $guests; do
	chaos destroy "$guest"
done
chaos list
left=$(chaos --format json list | jq length)
[ "$left" = 1 ] || { echo "guests are left: $left"; exit 1; }
rm -r "$work"
