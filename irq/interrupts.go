package irq

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"strconv"
	"strings"
)

// Table is the content of /proc/interrupts.
type Table struct {
	// CPUs are the numbers of the CPUs that have a column, those that are online, in the order of the columns.
	CPUs []int

	// Rows are the lines, in the file's order.
	Rows []Row
}

// Row is one line of /proc/interrupts.
type Row struct {
	// Label is the text before the colon: the number of a device's interrupt, or a short word such as "LOC".
	Label string

	// IRQ is the number of a device's interrupt, -1 if the label is no number.
	IRQ int

	// Counts are the interrupts of each CPU of [Table.CPUs] since the machine started; they wrap at 2^32. Lines such
	// as "ERR" have a single total instead, and the slice is shorter.
	Counts []uint64

	// Description is the rest of the line. What it says differs between kernels and machines: chip, hardware number,
	// trigger and names of the users.
	Description string
}

// Actions returns the names of the interrupt's users: for a network card the queues, such as "eth0-TxRx-0". A row
// without a number has none.
func (r Row) Actions() []string {
	if r.IRQ < 0 || r.Description == "" {
		return nil
	}
	// Two blanks and more separate the columns; the names are the last one.
	names := r.Description
	if i := strings.LastIndex(names, "  "); i >= 0 {
		names = names[i+2:]
	} else if i := strings.LastIndexByte(names, ' '); i >= 0 && !strings.Contains(names, ", ") {
		names = names[i+1:]
	}
	return strings.Split(names, ", ")
}

// Row returns the line of a device's interrupt. The interrupt may exist without one: no driver uses it.
func (t Table) Row(irq int) (Row, bool) {
	for _, r := range t.Rows {
		if r.IRQ == irq {
			return r, true
		}
	}
	return Row{}, false
}

// Interrupts reads proc/interrupts below root, normally os.DirFS("/").
func Interrupts(root fs.FS) (Table, error) {
	f, err := root.Open("proc/interrupts")
	if err != nil {
		return Table{}, fmt.Errorf("irq: %w", err)
	}
	defer f.Close()
	return ParseInterrupts(f)
}

// ParseInterrupts reads the text of /proc/interrupts. Lines may be of any length.
//
// The error matches fs.ErrInvalid if the text has no line with the numbers of the CPUs or a line without a label, and
// is the reader's otherwise.
func ParseInterrupts(r io.Reader) (Table, error) {
	in := lineReader{r: bufio.NewReaderSize(r, 64<<10)}
	line, err := in.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return Table{}, fmt.Errorf("irq: interrupts: %w", err)
	}
	cpus, err := parseTitles(string(line))
	if err != nil {
		return Table{}, fmt.Errorf("irq: interrupts: line 1: %w", err)
	}
	// A table of a large machine has a hundred thousand counters: memory is taken for many rows at once, and labels
	// and descriptions become parts of one string at the end.
	p := rowParser{cpus: len(cpus)}
	for n := 2; ; n++ {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return Table{CPUs: cpus, Rows: p.table()}, nil
		}
		if err != nil {
			return Table{}, fmt.Errorf("irq: interrupts: line %d: %w", n, err)
		}
		if !p.parse(line) {
			return Table{}, fmt.Errorf("irq: interrupts: line %d has no label: %w", n, fs.ErrInvalid)
		}
	}
}

func parseTitles(line string) ([]int, error) {
	var cpus []int
	for title := range strings.FieldsSeq(line) {
		number, ok := strings.CutPrefix(title, "CPU")
		cpu, err := strconv.ParseUint(number, 10, 32)
		if !ok || err != nil || cpu >= MaxCPUs {
			return nil, fmt.Errorf("%q is no CPU: %w", title, fs.ErrInvalid)
		}
		cpus = append(cpus, int(cpu))
	}
	if cpus == nil {
		return nil, fmt.Errorf("no CPUs: %w", fs.ErrInvalid)
	}
	return cpus, nil
}

// lineReader reads lines that are valid until the next one.
type lineReader struct {
	r    *bufio.Reader
	long []byte // for lines that do not fit into the reader's buffer
}

// next returns a line without its end. The error is io.EOF after the last one.
func (l *lineReader) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		l.long = l.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			l.long = append(l.long, line...)
			line, err = l.r.ReadSlice('\n')
		}
		l.long = append(l.long, line...)
		line = l.long
	}
	if err != nil && (len(line) == 0 || !errors.Is(err, io.EOF)) {
		return nil, err
	}
	return bytes.TrimSuffix(line, []byte("\n")), nil
}

// rowParser collects rows.
type rowParser struct {
	cpus  int
	slab  []uint64 // where the next counters go
	rows  []Row
	words []byte   // labels and descriptions, one after the other
	ends  [][2]int // where they end, for each row
}

// parse adds a line. It returns false if the line has no label.
func (p *rowParser) parse(line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return len(bytes.TrimSpace(line)) == 0
	}
	label := bytes.TrimSpace(line[:colon])
	if len(label) == 0 {
		return false
	}
	rest := line[colon+1:]
	if cap(p.slab)-len(p.slab) < p.cpus {
		// A counter takes two characters at least, which bounds what a damaged text makes us reserve.
		p.slab = make([]uint64, 0, max(min(64*p.cpus, 32*len(line)), p.cpus))
	}
	start := len(p.slab)
	counts := p.slab[start : start+p.cpus]
	n, at := counters(rest, counts)
	p.slab = p.slab[:start+n]
	p.words = append(p.words, label...)
	ends := [2]int{len(p.words)}
	p.words = append(p.words, bytes.TrimSpace(rest[at:])...)
	ends[1] = len(p.words)
	p.ends = append(p.ends, ends)
	p.rows = append(p.rows, Row{IRQ: -1, Counts: counts[:n:n]})
	return true
}

// column is the width of a counter as the kernel prints it: a blank and ten places, right-aligned.
const column = 11

// counters reads decimal numbers until counts is full or the next word is none, and returns how many there are and
// where they end. A word that only begins with digits is no number.
func counters(line []byte, counts []uint64) (n, end int) {
	for n < len(counts) {
		if k := shortColumns(line[end:], counts[n:]); k > 0 {
			n += k
			end += k * column
			continue
		}
		value, at, ok := number(line, end)
		if !ok {
			break
		}
		counts[n] = value
		n++
		end = at
	}
	return n, end
}

// number reads the next number, of up to 19 digits, and says where it ends.
func number(line []byte, at int) (value uint64, end int, ok bool) {
	for at < len(line) && line[at] == ' ' {
		at++
	}
	start := at
	for at < len(line) {
		digit := line[at] - '0'
		if digit > 9 {
			break
		}
		value = value*10 + uint64(digit)
		at++
	}
	return value, at, at > start && at-start <= 19 && (at == len(line) || line[at] == ' ')
}

// shortColumns reads columns that hold three blanks and a number of up to eight digits, as nearly every counter does, as
// long as there are such, and says how many. All digits of a number are read at once, which is several times faster than
// one by one.
func shortColumns(line []byte, counts []uint64) int {
	const (
		ones = 0x0101010101010101
		zero = ' '*(ones>>8) | '0'<<56
	)
	rest, n := line, 0
	for i := range counts {
		if len(rest) < column {
			break
		}
		c := (*[column]byte)(rest)
		v := binary.LittleEndian.Uint64(c[3:])
		if binary.LittleEndian.Uint64(c[:])<<40 != 0x202020<<40 {
			break
		}
		if v == zero { // most counters of most machines
			counts[i] = 0
		} else {
			v ^= ' ' * ones                       // a blank is 0, a digit 0x10 and its value
			first := bits.TrailingZeros64(v) & 56 // 0 of nothing but blanks
			v ^= ones << 4 << first
			if (v|(v+ones*6))&(ones*0xf0) != 0 { // something else is there, or nothing
				break
			}
			// Adds up two, four and eight digits.
			v = v*10 + v>>8
			const low = 0x000000ff000000ff
			counts[i] = (v&low*(100+1000000<<32) + v>>16&low*(1+10000<<32)) >> 32
		}
		rest = rest[column:]
		n = i + 1
	}
	if n > 0 && len(rest) > 0 && rest[0] != ' ' {
		n-- // the last one goes on, or is no number
	}
	return n
}

// table returns the rows with their texts.
func (p *rowParser) table() []Row {
	words, at := string(p.words), 0
	for i, ends := range p.ends {
		r := &p.rows[i]
		r.Label, r.Description = words[at:ends[0]], words[ends[0]:ends[1]]
		at = ends[1]
		if irq, err := strconv.ParseUint(r.Label, 10, 31); err == nil {
			r.IRQ = int(irq)
		}
	}
	return p.rows
}
