package main

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// A problem is a mistake in a configuration, with its place.
type problem struct {
	Line   int    // from 1
	Path   string // such as services[0].real[1].weight; empty for the file as a whole
	Reason string
}

// String returns "LINE: PATH: REASON".
func (p problem) String() string {
	if p.Path == "" {
		return fmt.Sprintf("%d: %s", p.Line, p.Reason)
	}
	return fmt.Sprintf("%d: %s: %s", p.Line, p.Path, p.Reason)
}

// decoder reads JSON more strictly than encoding/json does: no unknown or repeated fields, no null, letters as they are. It
// finds all mistakes and not only the first, each with its place, and remembers the lines for those that are found later.
type decoder struct {
	data     []byte
	lines    map[string]int // of each value, by its path
	problems []problem
}

// decode reads data into the value that v points to.
func decode(data []byte, v any) *decoder {
	d := &decoder{data: data, lines: map[string]int{"": 1}}
	var tree json.RawMessage
	if err := json.Unmarshal(data, &tree); err != nil {
		at := len(data)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			at = int(syntax.Offset)
		}
		d.problems = append(d.problems, problem{d.line(at), "", err.Error()})
		return d
	}
	start := len(data) - len(bytes.TrimLeft(data, " \t\r\n"))
	d.value("", start, bytes.TrimSpace(data), reflect.ValueOf(v).Elem())
	return d
}

// line returns the line of a place in the data.
func (d *decoder) line(offset int) int {
	return 1 + bytes.Count(d.data[:min(max(offset, 0), len(d.data))], []byte("\n"))
}

// report adds a mistake about the value of a path, or about the nearest one around it that is in the file.
func (d *decoder) report(path, format string, args ...any) {
	at := path
	for d.lines[at] == 0 && at != "" {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	d.problems = append(d.problems, problem{d.lines[at], path, fmt.Sprintf(format, args...)})
}

// value reads the JSON text raw, which begins at an offset of the file, into v.
func (d *decoder) value(path string, offset int, raw []byte, v reflect.Value) {
	d.lines[path] = d.line(offset)
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	_, isText := v.Addr().Interface().(encoding.TextUnmarshaler)
	switch {
	case string(raw) == "null":
		d.report(path, "null is no value; leave the field out")
	case isText:
		if raw[0] != '"' {
			d.report(path, "a string is wanted, not %s", kindOf(raw))
		} else if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil {
			d.report(path, "%s", strings.TrimPrefix(err.Error(), "ipvs: "))
		}
	case v.Kind() == reflect.Struct:
		d.object(path, offset, raw, v)
	case v.Kind() == reflect.Slice:
		d.array(path, offset, raw, v)
	default:
		d.leaf(path, raw, v)
	}
}

func (d *decoder) leaf(path string, raw []byte, v reflect.Value) {
	err := json.Unmarshal(raw, v.Addr().Interface())
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		d.report(path, "%s is wanted, not %s", wanted(v.Type()), mismatch.Value)
	} else if err != nil {
		d.report(path, "%v", err)
	}
}

func (d *decoder) array(path string, offset int, raw []byte, v reflect.Value) {
	if raw[0] != '[' {
		d.report(path, "a list is wanted, not %s", kindOf(raw))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // an empty list is not the same as none
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token()
	for i := 0; dec.More(); i++ {
		var elem json.RawMessage
		if err := dec.Decode(&elem); err != nil {
			d.report(path, "%v", err)
			return
		}
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		d.value(fmt.Sprintf("%s[%d]", path, i), offset+int(dec.InputOffset())-len(elem), elem, v.Index(i))
	}
}

func (d *decoder) object(path string, offset int, raw []byte, v reflect.Value) {
	if raw[0] != '{' {
		d.report(path, "an object is wanted, not %s", kindOf(raw))
		return
	}
	fields := make(map[string][]int)
	for _, f := range reflect.VisibleFields(v.Type()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && !f.Anonymous && name != "-" {
			fields[name] = f.Index
		}
	}
	seen := make(map[string]bool)
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token()
	for dec.More() {
		token, err := dec.Token()
		key, isString := token.(string)
		if err != nil || !isString {
			d.report(path, "%v", err)
			return
		}
		at := d.line(offset + int(dec.InputOffset()))
		var elem json.RawMessage
		if err := dec.Decode(&elem); err != nil {
			d.report(path, "%v", err)
			return
		}
		inner := key
		if path != "" {
			inner = path + "." + key
		}
		index, known := fields[key]
		switch {
		case !known:
			d.problems = append(d.problems, problem{at, inner, "unknown field; there are " + strings.Join(slices.Sorted(maps.Keys(fields)), ", ")})
		case seen[key]:
			d.problems = append(d.problems, problem{at, inner, "the field is there twice"})
		default:
			d.value(inner, offset+int(dec.InputOffset())-len(elem), elem, v.FieldByIndex(index))
		}
		seen[key] = true
	}
}

// kindOf says what a JSON text is.
func kindOf(raw []byte) string {
	switch raw[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "true or false"
	}
	return "a number"
}

// wanted says what a Go type takes.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.Map:
		return "an object of strings"
	case reflect.Uint16:
		return "a whole number from 0 to 65535"
	case reflect.Uint32:
		return "a whole number from 0 to 4294967295"
	}
	return "a whole number"
}
