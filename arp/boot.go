package arp

import (
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/golvs/lvs/sysctl"
)

// BootFormat is a kind of file that sets things up when the machine starts.
type BootFormat uint8

// Formats. A host uses BootSysctl, BootModules if there are tunnels, ports or dummies, and one of the other two.
const (
	BootSysctl   BootFormat = iota // sysctl.d(5): suppression and return path filtering
	BootModules                    // modules-load.d(5) and modprobe.d(5): what the devices and ports need
	BootNetworkd                   // systemd.netdev(5) and systemd.network(5): devices, ports and addresses
	BootIfupdown                   // interfaces(5), below interfaces.d: the same
)

var bootNames = [...]string{BootSysctl: "sysctl", BootModules: "modules", BootNetworkd: "networkd", BootIfupdown: "ifupdown"}

// String returns "sysctl", "modules", "networkd" or "ifupdown", or "boot(N)".
func (b BootFormat) String() string {
	if int(b) < len(bootNames) {
		return bootNames[b]
	}
	return fmt.Sprintf("boot(%d)", uint8(b))
}

// ParseBootFormat is the inverse of String. The error matches fs.ErrInvalid.
func ParseBootFormat(s string) (BootFormat, error) {
	if i := slices.Index(bootNames[:], s); i >= 0 {
		return BootFormat(i), nil
	}
	return 0, fmt.Errorf("arp: boot format %q: %w", s, fs.ErrInvalid)
}

// bootPatterns are the names of all files that are ever written for the next boot. They are in files of our own, one
// for each thing that comes and goes alone.
var bootPatterns = [...]string{
	"etc/sysctl.d/90-lvs-*.conf",
	"etc/modules-load.d/lvs-*.conf",
	"etc/modprobe.d/lvs-*.conf",
	"etc/systemd/network/90-lvs-*.netdev",
	"etc/systemd/network/90-lvs-*.network",
	"etc/systemd/network/90-lvs-*.network.d/*.conf",
	"etc/network/interfaces.d/lvs-*",
}

func isBootFile(name string) bool {
	return fs.ValidPath(name) && slices.ContainsFunc(bootPatterns[:], func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// bootFiles returns the files that exist.
func bootFiles(root fs.FS) []string {
	var names []string
	for _, pattern := range bootPatterns {
		found, _ := fs.Glob(root, pattern) // the pattern is right, and other errors mean that there is none
		names = append(names, found...)
	}
	return names
}

const bootHeader = "# Written by lvs, do not edit.\n"

// file adds the step for a file for the next boot.
func (p *planner) file(name, content string, vips ...netip.Addr) {
	old, exists := p.state.Files[name]
	p.add(Step{
		Op: WriteFile, File: name, Old: old, OldAbsent: !exists, New: content, Keep: exists && old == content, For: vips,
		Reason: "for the next boot",
	})
}

func (p *planner) files() error {
	for i, format := range p.setup.Boot {
		if slices.Contains(p.setup.Boot[:i], format) {
			continue
		}
		switch format {
		case BootSysctl:
			if err := p.sysctlFiles(); err != nil {
				return err
			}
		case BootModules:
			p.moduleFiles()
		case BootNetworkd:
			p.networkdFiles()
		case BootIfupdown:
			p.ifupdownFiles()
		}
	}
	return nil
}

// sysctlFiles writes a file for each device, so that another setup's can come and go.
func (p *planner) sysctlFiles() error {
	var devices []string
	of := map[string][]sysctl.Setting{}
	for _, s := range p.boot {
		dev := path.Base(path.Dir(string(s.Key)))
		if of[dev] == nil {
			devices = append(devices, dev)
		}
		of[dev] = append(of[dev], s)
	}
	for _, dev := range devices {
		content, err := sysctl.FormatList("lvs, do not edit", of[dev])
		if err != nil {
			return err
		}
		p.file("etc/sysctl.d/90-lvs-"+dev+".conf", string(content))
	}
	return nil
}

// made returns the devices of the setup that a boot has to make, dummies without a tunnel.
func (p *planner) made() (list []Step) {
	for _, s := range p.steps {
		if s.Op == AddLink && (s.Tunnel == nil || s.Tunnel.Kind.Fallback() != s.Device) {
			list = append(list, s)
		}
	}
	return list
}

func (p *planner) moduleFiles() {
	var modules []string
	for _, t := range p.setup.Tunnels {
		modules = append(modules, t.Kind.Module())
	}
	for _, port := range p.setup.FOUPorts {
		modules = append(modules, port.Module())
	}
	for _, s := range p.made() {
		if s.Tunnel == nil {
			modules = append(modules, kindDummy)
			if s.Device != "dummy0" {
				p.file("etc/modprobe.d/lvs-dummy.conf", bootHeader+"options dummy numdummies=0\n")
			}
		}
	}
	slices.Sort(modules)
	for _, m := range slices.Compact(modules) {
		p.file("etc/modules-load.d/lvs-"+m+".conf", bootHeader+m+"\n")
	}
}

const networkdDir = "etc/systemd/network/90-lvs-"

// fileName returns an address as a part of a file's name.
func fileName(a netip.Addr) string { return strings.ReplaceAll(a.String(), ":", "-") }

func (p *planner) networkdFiles() {
	for _, s := range p.made() {
		content := bootHeader + "[NetDev]\nName=" + s.Device + "\nKind=" + s.kind() + "\n"
		if t := s.Tunnel; t != nil {
			content += "\n[Tunnel]\nIndependent=yes\n"
			content += "Local=" + anyAddr(t.Local) + "\nRemote=" + anyAddr(t.Remote) + "\n"
			if t.Kind == IP6TNL {
				content += "Mode=any\n"
			}
			if t.Checksum {
				p.warnings = append(p.warnings, fmt.Sprintf("systemd-networkd cannot make %s with checksums", s.Device))
			}
		}
		p.file(networkdDir+s.Device+".netdev", content)
	}
	for _, port := range p.setup.FOUPorts {
		if port.IPv6 {
			p.warnings = append(p.warnings, fmt.Sprintf("systemd-networkd cannot open fou %v without an address", port))
			continue
		}
		content := fmt.Sprintf("%s[NetDev]\nName=fou%d\nKind=fou\n\n[FooOverUDP]\nPort=%d\n", bootHeader, port.Port, port.Port)
		if port.Protocol == 0 {
			content += "Encapsulation=GenericUDPEncapsulation\n"
			p.warnings = append(p.warnings, fmt.Sprintf("systemd-networkd 252 cannot open fou %v: see after a boot whether yours does", port))
		} else {
			content += fmt.Sprintf("Encapsulation=FooOverUDP\nProtocol=%d\n", port.Protocol)
		}
		p.file(fmt.Sprintf("%sfou%d.netdev", networkdDir, port.Port), content)
	}
	var matched []string
	match := func(dev string) {
		if !slices.Contains(matched, dev) {
			matched = append(matched, dev)
			p.file(networkdDir+dev+".network", bootHeader+"[Match]\nName="+dev+"\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nConfigureWithoutCarrier=yes\nIPv6AcceptRA=no\n")
		}
	}
	for _, t := range p.setup.Tunnels {
		match(t.Name)
	}
	for _, s := range slices.Clone(p.steps) {
		if s.Op != AddAddress {
			continue
		}
		a := *s.Address
		if l, ok := p.state.Link(a.Device); ok && l.Resolves() {
			// The first file that matches a device counts, and one of ours would take over the device.
			p.warnings = append(p.warnings, fmt.Sprintf("add %v to the file of systemd.network(5) for %s yourself", a.Prefix, a.Device))
			continue
		}
		match(a.Device)
		content := bootHeader + "[Address]\nAddress=" + a.Prefix.String() + "\n"
		if a.Label != "" {
			content += "Label=" + a.Label + "\n"
		}
		if a.Scope == ScopeHost {
			content += "Scope=host\n"
		}
		if a.Addr().Is6() {
			content += "PreferredLifetime=0\nDuplicateAddressDetection=none\n"
		}
		p.file(networkdDir+a.Device+".network.d/"+fileName(a.Addr())+".conf", content, s.For...)
	}
}

func (p *planner) ifupdownFiles() {
	const dir = "etc/network/interfaces.d/lvs-"
	for _, s := range p.made() {
		spec := s.Device + " type " + kindDummy
		if s.Tunnel != nil {
			spec = s.Tunnel.String()
		}
		p.file(dir+s.Device, fmt.Sprintf(bootHeader+"auto %[1]s\niface %[1]s inet manual\n\tpre-up ip link add %[2]s\n\tup ip link set %[1]s up\n\tpost-down ip link del %[1]s\n", s.Device, spec))
	}
	for _, t := range p.setup.Tunnels {
		if t.Kind.Fallback() == t.Name {
			p.file(dir+t.Name, fmt.Sprintf(bootHeader+"auto %[1]s\niface %[1]s inet manual\n\tup ip link set %[1]s up\n\tdown ip link set %[1]s down\n", t.Name))
		}
	}
	for _, port := range p.setup.FOUPorts {
		fou, encap := "ip fou", "gue"
		if port.IPv6 {
			fou = "ip -6 fou"
		}
		if port.Protocol != 0 {
			encap = fmt.Sprintf("ipproto %d", port.Protocol)
		}
		p.file(fmt.Sprintf("%sfou-%d", dir, port.Port), fmt.Sprintf(bootHeader+"auto lo\niface lo inet manual\n\tup %[1]s add port %[2]d %[3]s\n\tdown %[1]s del port %[2]d\n", fou, port.Port, encap))
	}
	for _, s := range slices.Clone(p.steps) {
		if s.Op != AddAddress {
			continue
		}
		a := *s.Address
		inet, more := "inet", ""
		switch {
		case a.Addr().Is6():
			inet, more = "inet6", "\tdad-attempts 0\n\tpreferred-lifetime 0\n"
		case a.Scope != ScopeGlobal:
			more += "\tscope " + a.Scope.String() + "\n"
		}
		if a.Label != "" && a.Label != a.Device {
			// The label is the name of an alias there.
			p.file(dir+a.Device+"-"+fileName(a.Addr()), fmt.Sprintf(bootHeader+"auto %[1]s\niface %[1]s %[2]s static\n\taddress %[3]v\n%[4]s", a.Label, inet, a.Prefix, more), s.For...)
			continue
		}
		p.file(dir+a.Device+"-"+fileName(a.Addr()), fmt.Sprintf(bootHeader+"auto %[1]s\niface %[1]s %[2]s static\n\taddress %[3]v\n%[4]s", a.Device, inet, a.Prefix, more), s.For...)
	}
}

// kind returns the kernel's name for what AddLink makes.
func (s Step) kind() string {
	if s.Tunnel != nil {
		return s.Tunnel.Kind.String()
	}
	return kindDummy
}

func anyAddr(a netip.Addr) string {
	if a.IsValid() {
		return a.String()
	}
	return "any"
}
