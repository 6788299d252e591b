package uacsta_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/schema"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The published samples must come back unchanged, through the tree and, where
// there is a struct, through the struct.
func TestPublishedSamples(t *testing.T) {
	seen := 0
	for _, file := range []string{"samples-ed3.txt", "samples-ecma354.txt"} {
		for name, docs := range publishedSamples(t, file) {
			for _, doc := range docs {
				seen++
				m := parse(t, doc)
				if m.Name() != name {
					t.Errorf("%s: name %s", name, m.Name())
				}
				if m.String() != doc {
					t.Errorf("tree:\n got %s\nwant %s", m, doc)
				}
				v := uacsta.New(name)
				if v == nil {
					if name != "CSTAErrorCode" {
						t.Errorf("%s has no struct", name)
					}
					continue
				}
				if err := m.Decode(v); err != nil {
					t.Errorf("%s: %v", doc, err)
					continue
				}
				if got := uacsta.Encode(v, uacsta.Edition3).String(); got != doc {
					t.Errorf("struct:\n got %s\nwant %s", got, doc)
				}
			}
		}
	}
	if seen != 159 {
		t.Errorf("%d samples, want 159", seen)
	}
}

// Every struct must be valid against the strict schemas, filled with as little
// and with as much as its fields hold, in each edition that has the message.
func TestEmittedIsValid(t *testing.T) {
	if n := len(uacsta.Names()); n < 300 {
		t.Errorf("%d messages only", n)
	}
	for _, edition := range []uacsta.Edition{uacsta.Edition3, uacsta.Edition6} {
		docs, sessions := map[string][]byte{}, map[string][]byte{}
		for _, name := range uacsta.Names() {
			if uacsta.Since(name) > edition {
				continue
			}
			for how, full := range map[string]bool{"least": false, "full": true} {
				filled := uacsta.New(name)
				fill(reflect.ValueOf(filled).Elem(), full)
				if start, ok := filled.(*uacsta.StartApplicationSessionNegResponse); ok { // it has a set of errors of its own
					start.ErrorCode.DefinedError = "maxNumberSessions"
				}
				m := uacsta.Encode(filled, edition)
				switch {
				case strings.Contains(name, "ApplicationSession"):
					sessions[name+"-"+how] = m.Bytes()
				case name == "SnapshotCallData" && edition == uacsta.Edition6:
					// The published schema gives the name to the bare list; it is written as in edition 3.
				default:
					docs[name+"-"+how] = m.Bytes()
				}
				again := uacsta.New(name)
				if err := m.Decode(again); err != nil {
					t.Errorf("%s cannot be read again: %v", m, err)
				} else if twice := uacsta.Encode(again, edition).String(); twice != m.String() {
					t.Errorf("written again:\n got %s\nwant %s", twice, m)
				}
			}
		}
		all := uacsta.Features{}
		for _, p := range uacsta.Profiles {
			all.Services = append(all.Services, p.Features.Services...)
			all.Events = append(all.Events, p.Features.Events...)
		}
		docs["features"] = all.Message(edition).Bytes()
		docs["error"] = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService).Message(edition).Bytes()
		docs["unspecified"] = uacsta.Refuse(uacsta.Unspecified, "").Message(edition).Bytes()
		schema.Validate(t, int(edition), docs)
		schema.ValidateSessions(t, sessions)
	}
}

// The code must be what messages.txt says.
func TestGenerated(t *testing.T) {
	generated := run(t, "generate.go", "*.go")
	if len(generated) < 10 {
		t.Fatal(generated)
	}
	for name, want := range generated {
		if have, err := os.ReadFile(name); err != nil || string(have) != want {
			t.Errorf("%s is not up to date: go generate ./uacsta", name)
		}
	}
}

// The pages in docs/csta must be what messages.txt and examples.txt say.
func TestPages(t *testing.T) {
	generated := run(t, "document.go", "*.md")
	pages, err := filepath.Glob("../docs/csta/*.md")
	if err != nil || len(pages) < 130 {
		t.Fatal(err, pages)
	}
	for _, file := range pages {
		have, err := os.ReadFile(file)
		if name := filepath.Base(file); err != nil || string(have) != generated[name] {
			t.Errorf("%s is not up to date: go generate ./uacsta", file)
		}
		delete(generated, filepath.Base(file))
	}
	for name := range generated {
		t.Errorf("docs/csta/%s is missing: go generate ./uacsta", name)
	}
}

// Every type that a page names is described.
func TestTypesOfPages(t *testing.T) {
	types, err := os.ReadFile("../docs/csta/types.md")
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)`).FindAllSubmatch(types, -1) {
		anchor := strings.ToLower(strings.ReplaceAll(string(heading[1]), " ", "-"))
		if described[anchor] {
			t.Errorf("two headings %s", heading[1])
		}
		described[anchor] = true
	}
	pages, err := filepath.Glob("../docs/csta/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range pages {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`types\.md#([^)]*)`).FindAllSubmatch(page, -1) {
			if !described[string(link[1])] {
				t.Errorf("%s: no heading for %s", file, link[0])
			}
		}
	}
}

// run runs a generator with an output directory and returns the files that it writes.
func run(t *testing.T, generator, pattern string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "run", generator, "table.go", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		written[filepath.Base(file)] = string(data)
	}
	return written
}

// fill gives a value to every mandatory field, or to every field. Of a choice the
// first member is taken.
func fill(v reflect.Value, full bool) {
	chosen := false
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag := f.Tag.Get("csta")
		choice := strings.Contains(tag, ",choice")
		if tag == "" || choice && chosen || !choice && !full && !strings.Contains(tag, "required") {
			continue
		}
		chosen = chosen || choice
		set(v.Field(i), f, full)
	}
}

func set(v reflect.Value, f reflect.StructField, full bool) {
	element, _, _ := strings.Cut(f.Tag.Get("csta"), ",")
	switch x := v.Addr().Interface().(type) {
	case *uacsta.DeviceID:
		*x = uacsta.Dev("1001")
		return
	case *uacsta.ConnectionID:
		*x = uacsta.Conn("55", "1001")
		return
	case *uacsta.ExtendedDeviceID:
		*x = uacsta.Ext("1001")
		return
	case *uacsta.RedirectionDeviceID:
		x.NumberDialed = uacsta.Dev("1002")
		return
	case *uacsta.ConnectionListEnd:
		x.DeviceID = uacsta.Dev("1001")
		return
	case *uacsta.Data:
		x.String = "4142"
		return
	case *uacsta.Capabilities:
		if full {
			*x = uacsta.AllCapabilities(element)
		}
		return
	case *uacsta.Error:
		*x = *uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
		return
	case *uacsta.EventCause:
		*x = uacsta.CauseNewCall
		return
	case *uacsta.LocalConnectionState:
		*x = uacsta.Connected
		return
	case *uacsta.Raw:
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		set(v.Elem(), f, full)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		set(v.Index(0), f, full)
	case reflect.Struct:
		fill(v, full)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(3)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.String:
		text := "4142" // plain text and hexBinary alike
		if first := uacsta.FirstValue(v.Type().Name()); first != "" {
			text = first
		}
		if word, special := map[string]string{
			"language": "en", "definedEndReason": "normal", "definedTermReason": "sessionTimerExpired", "definedError": "invalidSessionID",
		}[element]; special {
			text = word
		}
		v.SetString(text)
	}
}
