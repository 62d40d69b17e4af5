package irq

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

// Masks as Linux prints them with nr possible CPU numbers.
var masks = []struct {
	nr         int
	list, mask string
}{
	{1, "0", "1"}, {4, "3", "8"}, {4, "0-3", "f"}, {5, "4", "10"}, {8, "1", "02"}, {31, "30", "40000000"},
	{32, "31", "80000000"}, {33, "32", "1,00000000"}, {33, "0", "0,00000001"}, {36, "35", "8,00000000"},
	{64, "63", "80000000,00000000"}, {65, "64", "1,00000000,00000000"}, {72, "64", "01,00000000,00000000"},
	{72, "0-71", "ff,ffffffff,ffffffff"}, {72, "0,2,4,6,8,10", "00,00000000,00000555"},
	{80, "0,76", "1000,00000000,00000001"}, {80, "79", "8000,00000000,00000000"}, {80, "0-3", "0000,00000000,0000000f"},
	{96, "95", "80000000,00000000,00000000"}, {128, "0,127", "80000000,00000000,00000000,00000001"},
	{129, "128", "1,00000000,00000000,00000000,00000000"}, {4, "", "0"},
}

func TestMask(t *testing.T) {
	for _, tt := range masks {
		set, err := ParseList(tt.list)
		if err != nil {
			t.Fatal(err)
		}
		if got := set.Mask(tt.nr); got != tt.mask {
			t.Errorf("%q of %d: mask %q, want %q", tt.list, tt.nr, got, tt.mask)
		}
		back, err := ParseMask(tt.mask)
		if err != nil || back != set {
			t.Errorf("ParseMask(%q) = %v, %v, want %v", tt.mask, back, err, set)
		}
		if got := set.String(); got != tt.list {
			t.Errorf("list %q, want %q", got, tt.list)
		}
		if got := set.Mask(maskWidth(tt.mask)); got != tt.mask {
			t.Errorf("in the width of %q: %q", tt.mask, got)
		}
	}
	if got := (CPUSet{}).Mask(4096); len(got) != 1151 || strings.Count(got, ",") != 127 {
		t.Errorf("mask of 4096 CPUs has %d characters", len(got))
	}
	if got := CPUs(40).Mask(4); got != "100,00000000" {
		t.Errorf("mask of a CPU beyond nr: %q", got)
	}
}

func TestParseMask(t *testing.T) {
	for text, want := range map[string]string{"A": "1,3", "a\n": "1,3", "00000001": "0", " 1": "0", "0,2": "1", "1,1": "0,32", "00000000,00000000,00000002": "1"} {
		if got, err := ParseMask(text); err != nil || got.String() != want {
			t.Errorf("ParseMask(%q) = %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "\n", "g", "0x1", "000000001", "1 2", ",1", "1,", "-1", "+1", "1_0", strings.Repeat("0,", MaxCPUs/32) + "1"} {
		if got, err := ParseMask(text); !errors.Is(err, fs.ErrInvalid) || !got.IsEmpty() {
			t.Errorf("ParseMask(%.20q) = %v, %v", text, got, err)
		}
	}
}

func TestParseListForms(t *testing.T) {
	for text, want := range map[string]string{
		"0-1": "0-1", "0,1": "0-1", "0 1": "0-1", " 1 ": "1", "1,": "1", ",1": "1", "0,,1": "0-1", "3,1,0": "0-1,3",
		"0-3:1/2": "0,2", "0-31:2/4": "0-1,4-5,8-9,12-13,16-17,20-21,24-25,28-29", "0-31:1/4": "0,4,8,12,16,20,24,28",
		"0-30:2/4": "0-1,4-5,8-9,12-13,16-17,20-21,24-25,28-29", "": "", "\n": "", "0-2:2/4": "0-1", "5-6:4/4": "5-6",
	} {
		if got, err := ParseList(text); err != nil || got.String() != want {
			t.Errorf("ParseList(%q) = %v, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"1-0", "0x3", "1-", "none", "all", "0-31:4/2", "0-31:2/0", "0-31:2", "3:1/2", "-1", "65536", "99999999999999999999", "0-31:0/4", "(null)"} {
		if got, err := ParseList(text); !errors.Is(err, fs.ErrInvalid) || !got.IsEmpty() {
			t.Errorf("ParseList(%q) = %v, %v", text, got, err)
		}
	}
}

func TestCPUSetOperations(t *testing.T) {
	a, b := CPUs(0, 1, 2, 200, 200), CPUs(2, 3, 300)
	for name, tt := range map[string]struct{ got, want CPUSet }{
		"union":     {a.Union(b), CPUs(0, 1, 2, 3, 200, 300)},
		"intersect": {a.Intersect(b), CPUs(2)},
		"minus":     {a.Minus(b), CPUs(0, 1, 200)},
		"nothing":   {b.Minus(b), CPUSet{}},
		"outside":   {CPUs(-1, MaxCPUs), CPUSet{}},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", name, tt.got, tt.want)
		}
	}
	if a.Len() != 4 || a.Min() != 0 || a.Max() != 200 || b.Min() != 2 || !a.Has(200) || a.Has(199) || a.Has(-1) || a.Has(1000) {
		t.Errorf("%v: Len %d, Min %d, Max %d", a, a.Len(), a.Min(), a.Max())
	}
	if (CPUSet{}).Min() != -1 || (CPUSet{}).Max() != -1 || !(CPUSet{}).IsEmpty() || a.IsEmpty() {
		t.Error("empty set")
	}
	if got := slices.Collect(a.All()); !slices.Equal(got, []int{0, 1, 2, 200}) {
		t.Errorf("All: %v", got)
	}
	for cpu := range a.All() {
		if cpu == 1 {
			break
		}
	}
	text, err := json.Marshal(map[string]CPUSet{"cpus": a})
	if err != nil || string(text) != `{"cpus":"0-2,200"}` {
		t.Errorf("JSON %s, %v", text, err)
	}
	var back map[string]CPUSet
	if err := json.Unmarshal(text, &back); err != nil || back["cpus"] != a {
		t.Errorf("back from JSON: %v, %v", back, err)
	}
}

// Printing and parsing are inverse in both formats, for machines of 1 to 4096 CPUs.
func FuzzCPUSet(f *testing.F) {
	f.Add(uint16(1), []byte{1})
	f.Add(uint16(72), []byte{0x55, 5})
	f.Add(uint16(4096), []byte{0, 0, 0, 0, 0xff})
	f.Fuzz(func(t *testing.T, nr uint16, raw []byte) {
		n := int(nr)%4096 + 1
		var cpus []int
		for i := range min(len(raw)*8, n) {
			if raw[i/8]>>(i%8)&1 != 0 {
				cpus = append(cpus, i)
			}
		}
		set := CPUs(cpus...)
		if set.Len() != len(cpus) || !slices.Equal(slices.Collect(set.All()), cpus) {
			t.Fatalf("%v holds %v", set, cpus)
		}
		mask := set.Mask(n)
		groups := strings.Split(mask, ",")
		if len(groups) != (n+31)/32 || len(groups[0]) != (n-32*(len(groups)-1)+3)/4 {
			t.Fatalf("mask %q for %d CPUs", mask, n)
		}
		if back, err := ParseMask(mask); err != nil || back != set {
			t.Fatalf("mask %q of %v read as %v, %v", mask, set, back, err)
		}
		if back, err := ParseList(set.String()); err != nil || back != set {
			t.Fatalf("list %q read as %v, %v", set, back, err)
		}
	})
}

func FuzzParseCPUs(f *testing.F) {
	for _, tt := range masks {
		f.Add(tt.list)
		f.Add(tt.mask)
	}
	f.Add("0-31:2/4")
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (CPUSet, error){ParseList, ParseMask} {
			set, err := parse(text)
			if err != nil {
				if !set.IsEmpty() || !errors.Is(err, fs.ErrInvalid) {
					t.Fatalf("%q: %v and %v", text, set, err)
				}
				continue
			}
			if back, err := ParseList(set.String()); err != nil || back != set || set.Max() >= MaxCPUs {
				t.Fatalf("%q: %v read again as %v, %v", text, set, back, err)
			}
		}
	})
}
