# The demo of guests without Xenstore, behind demo-common.sh: the same guests with NoXS, with Xenstore, and by xl.

log_of() { # NAME
	echo "/var/log/lightvm/console/$1.log"
}

say 'The host so far: Xen and Linux with NoXS, and no xenstored'
ls /dev/xen/noxs_backend
[ ! -e /run/xenstored/socket ] || { echo 'there is an xenstored'; exit 1; }
for guest in $guests; do
	chaos create "$guest.json"
done

say 'chaos list'
chaos list

say "The devices that the kernel has for them: guest, class, id, and the states of the two ends (4 is connected)"
/usr/lib/lightvm-lab/nx list

say 'What they say on their consoles, as xendevd logs them (noop says nothing: it is asleep)'
talk

say 'A polite shutdown, acknowledged by each guest'
for guest in $guests; do
	chaos shutdown "$guest"
done
left=$(chaos --format json list | jq length)
[ "$left" = 1 ] || { echo "guests are left: $left"; exit 1; }

# The lab has the unit of xenstored masked on this plane.
rm -f /etc/systemd/system/xen.service
systemctl daemon-reload
systemctl start xen
say "With xenstored started beside it: the same guests on both planes, and by xl (milliseconds, $clock); daytime and linux have an interface"
printf '  %-10s %12s %16s %10s %13s %13s\n' guest 'chaos, NoXS' 'chaos, Xenstore' xl 'xl / NoXS' 'NoXS destroy'
compare() { # GUEST: fills `times`
	times=()
	timed chaos create "$1.json" --plane noxs; times+=("$took")
	timed chaos destroy "$1"; times+=("$took")
	timed chaos create "$1.json" --plane xenstore; times+=("$took")
	timed chaos destroy "$1"
	timed xl create "$1.cfg"; times+=("$took")
	timed xl destroy "$1"
}
# Once for nothing, so that everything has been read from the disk before, and xendevd has found the xenstored that has just come.
cat /guests/linux-vmlinux /guests/linux-initramfs >/dev/null
compare daytime-pv
for guest in $guests; do
	compare "$guest"
	ratio=$((times[3] * 10 / times[0]))
	printf '  %-10s %12s %16s %10s %11s.%s %13s\n' "$guest" "$(ms "${times[0]}")" "$(ms "${times[2]}")" "$(ms "${times[3]}")" \
		$((ratio / 10)) $((ratio % 10)) "$(ms "${times[1]}")"
done
left=$(chaos --format json list | jq length)
[ "$left" = 1 ] || { echo "guests are left: $left"; exit 1; }
rm -r "$work"
