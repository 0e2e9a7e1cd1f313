# What both demos share: xtask/src/demo.rs puts this before them, and `clock=`, `bold=` and `plain=`
# before this. They end with 0 only if all of it worked.
# In bash, which can read the time without starting a process.
[ -n "${BASH_VERSION-}" ] || exec bash "$0"
set -euo pipefail
work=$(mktemp -d)
cd "$work"
guests=
for app in noop hello daytime linux; do
	guests="$guests $app-pv $app-pvh"
done

say() {
	printf '\n%b%s%b\n' "$bold" "$*" "$plain"
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

# The first line of a guest's console that matches, within five minutes: an emulated Linux boots slowly.
console() { # NAME PATTERN
	local log line
	log=$(log_of "$1")
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

# What the guests have to say, each in its way.
talk() {
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
}
