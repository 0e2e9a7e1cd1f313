# The demo of the plane noxs, as dom0 runs it (xtask/src/demo.rs, which puts `clock=` before it): the same guests with NoXS, with Xenstore, and by xl. Ends
# with 0 only if all of it worked. In bash, which can read the time without starting a process.
[ -n "${BASH_VERSION-}" ] || exec bash "$0"
set -euo pipefail
work=$(mktemp -d)
cd "$work"
guests=
for app in noop hello daytime linux; do
	guests="$guests $app-pv $app-pvh"
done

say() {
	printf '\n\033[1m%s\033[0m\n' "$*"
}

# Every guest by a name of its own, and for xl the same guest in its own language.
for guest in $guests; do
	# Both types live at the same time here, so the second has another address.
	jq --arg name "$guest" '.name = $name | if .type == "pvh" and .cmdline then .cmdline |= sub("10.77.0.1"; "10.77.0.2") else . end' \
		"/guests/$guest.json" >"$guest.json"
	jq -r '"name = \"\(.name)\"", "type = \"\(.type)\"", "kernel = \"\(.kernel)\"", "memory = \(.memory)", "vcpus = \(.vcpus)",
		(if .ramdisk then "ramdisk = \"\(.ramdisk)\"" else empty end),
		(if .cmdline then "extra = \"\(.cmdline)\"" else empty end),
		(if .tsc_mode then "tsc_mode = \"\(.tsc_mode)\"" else empty end),
		(if .vifs then "vif = [ \(.vifs | map("\"bridge=\(.bridge)\"") | join(", ")) ]" else empty end),
		"on_reboot = \"destroy\"", "on_crash = \"destroy\""' "$guest.json" >"$guest.cfg"
done

# Runs a command and leaves its time in `took`, in microseconds; what it says is shown only if it fails.
timed() {
	local start=${EPOCHREALTIME/[.,]/}
	"$@" >said 2>&1 || { cat said; return 1; }
	took=$((${EPOCHREALTIME/[.,]/} - start))
}

ms() {
	printf '%s.%s' $(($1 / 1000)) $(($1 / 100 % 10))
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

# The first line of a guest's console that matches, within five minutes: an emulated Linux boots slowly.
console() { # NAME PATTERN
	local log=/var/log/lightvm/console/$1.log line
	for _ in $(seq 300); do
		if line=$(grep -a -m 1 -e "$2" "$log" 2>/dev/null); then
			printf '  %-10s %s\n' "$1" "${line%$'\r'}"
			return
		fi
		sleep 1
	done
	printf '  %-10s said nothing\n' "$1"
	return 1
}

say 'What they say on their consoles, as xendevd logs them (noop says nothing: it is asleep)'
for guest in $guests; do
	case $guest in
	hello-*) console "$guest" . ;;
	daytime-*) console "$guest" 'vif 0' ;;
	linux-*) console "$guest" GUEST-UP ;;
	esac
done

say 'What daytime says on the network, and what xendevd did for it'
for address in 10.77.0.13 10.77.0.23; do
	printf '  %-10s ' "$address"
	cat <"/dev/tcp/$address/13"
done
xendevd status

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
# Once for nothing, so that everything has been read from the disk before.
cat /guests/linux-vmlinux /guests/linux-initramfs >/dev/null
compare noop-pv
for guest in $guests; do
	compare "$guest"
	ratio=$((times[3] * 10 / times[0]))
	printf '  %-10s %12s %16s %10s %11s.%s %13s\n' "$guest" "$(ms "${times[0]}")" "$(ms "${times[2]}")" "$(ms "${times[3]}")" \
		$((ratio / 10)) $((ratio % 10)) "$(ms "${times[1]}")"
done
left=$(chaos --format json list | jq length)
[ "$left" = 1 ] || { echo "guests are left: $left"; exit 1; }
rm -r "$work"
