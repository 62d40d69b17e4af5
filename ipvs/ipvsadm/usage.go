package ipvsadm

// usage is a format for the program's name.
const usage = `Usage:
  %[1]s -A|-E SERVICE [-s SCHEDULER] [-p [SECONDS]] [-M NETMASK] [--pe ENGINE] [-b FLAGS] [-o]
  %[1]s -D SERVICE
  %[1]s -a|-e SERVICE -r SERVER [-g|-i|-m] [-w WEIGHT] [-x UPPER] [-y LOWER] [TUNNEL]
  %[1]s -d SERVICE -r SERVER
  %[1]s -L [SERVICE] [LISTING]
  %[1]s -S [-n] [--lossless]
  %[1]s -R [--lossless] [--atomic]
  %[1]s -Z [SERVICE]
  %[1]s -C
  %[1]s --set TCP TCPFIN UDP
  %[1]s --start-daemon master|backup [DAEMON]
  %[1]s --stop-daemon master|backup
  %[1]s -h | -v

Commands (one, and first):
  -A, --add-service          add a virtual service
  -E, --edit-service         change one; what is not given goes back to its default
  -D, --delete-service       remove one with its servers
  -C, --clear                remove all of them
  -R, --restore              carry out the command lines on standard input
  -S, --save                 print the table as command lines
  -a, --add-server           add a real server to a service
  -e, --edit-server          change one; what is not given goes back to its default
  -d, --delete-server        remove one
  -L, -l, --list             print the table; so does no command at all
  -Z, --zero                 set counters to zero, of one service or of all
      --set                  set the three timeouts in seconds; 0 leaves one as it is
      --start-daemon STATE   start a synchronisation daemon
      --stop-daemon STATE    stop it
  -h, --help                 print this
  -v, --version              print the version

SERVICE is one of:
  -t, --tcp-service ADDRESS:PORT
  -u, --udp-service ADDRESS:PORT
      --sctp-service ADDRESS:PORT
  -f, --fwmark-service MARK [-6]   packets with a firewall mark; -6 for those of IPv6
An IPv6 address stands in brackets. Port 0 of a persistent service is every port.

Of a service:
  -s, --scheduler NAME       rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh (wlc)
  -p, --persistent [SECONDS] keep a client on one server (360)
  -M, --netmask MASK         clients of one network count as one: 255.255.255.0, or 64 for IPv6
      --pe ENGINE            persistence engine: sip
  -b, --sched-flags FLAGS    sh-fallback,sh-port mh-fallback,mh-port flag-1,flag-2,flag-3
  -o, --ops                  schedule each UDP packet by itself

Of a server:
  -r, --real-server ADDRESS[:PORT]
  -g, --gatewaying           direct routing; this is the default
  -i, --ipip                 tunnel
  -m, --masquerading         NAT
  -w, --weight N             share of new connections; 0 gets none (1)
  -x, --u-threshold N        connections from which on it gets no new ones; 0 is no limit (0)
  -y, --l-threshold N        connections below which it gets new ones again (0)
      --tun-type TYPE        ipip, gue or gre (ipip)
      --tun-port PORT        of gue
      --tun-nocsum, --tun-csum, --tun-remcsum

Of a listing:
  -n, --numeric              numbers instead of names
  -c, --connection           connections and persistence templates
      --timeout, --daemon    timeouts, synchronisation daemons
      --stats, --rate        counters, rates
      --thresholds           connection limits
      --persistent-conn      persistent connections; with -c the data of engines
      --tun-info             encapsulation
  -X, --exact                counters in full
      --nosort               the kernel's order
      --numeric-sort         addresses by their value
      --json                 everything, as JSON

Of a daemon:
      --mcast-interface DEVICE  (eth0)
      --syncid N             0 to 255 (0)
      --sync-maxlen N        bytes
      --mcast-group ADDRESS  (224.0.0.81)
      --mcast-port PORT      (8848)
      --mcast-ttl N          (1)

Of -S and -R:
      --lossless             with limits, timeouts and daemons, in the kernel's order
      --atomic               all lines or none; a mistake is named by its line
`
