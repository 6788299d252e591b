package trace

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// kinds returns what the records of octets hold, in short.
func shown(t *Trace) (list []string) {
	for _, r := range t.Read(0, Filter{}, 100).Records {
		text := fmt.Sprintf("< %s", r.Octets)
		if r.Out {
			text = ">" + text[1:]
		}
		if r.Cut > 0 {
			text += fmt.Sprintf(" +%d", r.Cut)
		}
		list = append(list, text)
	}
	return list
}

func masks(b []byte) []byte { return bytes.ReplaceAll(b, []byte("secret"), []byte("******")) }

// A record is a whole message, however its octets arrive, so that no secret is in two records; what cannot be read is kept of
// those who have an identity only, and without a tap nothing is.
func TestInput(t *testing.T) {
	for name, through := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "octet by octet": iotest.OneByteReader, "half": iotest.HalfReader} {
		tr := New(Limits{Records: 100, Octets: 1 << 20}, nil)
		here, there := net.Pipe()
		defer func() { _ = here.Close(); _ = there.Close() }()
		tap := tr.Tap(Switch, "", "pbx").On("lines", here, masks)
		in := tap.Input(through(strings.NewReader("one secret\ntwo\nthree secret\nfour\nfi")))
		r := bufio.NewReaderSize(in, 16)
		for _, keep := range []func(*bufio.Reader, bool){in.Keep, in.Keep, in.Skip} {
			if _, err := r.ReadSlice('\n'); err != nil {
				t.Fatal(err)
			}
			keep(r, true)
		}
		_, _ = r.ReadSlice('\n')
		in.Skip(r, false)
		_, _ = io.ReadAll(r)
		in.Skip(r, true)
		in.Skip(r, true) // nothing more has come
		tap.Keep(true, false, []byte("a secret"))
		if got, want := shown(tr), []string{"< one ******\n", "< two\n", "<  +13", "< four\n", "<  +2", "> a ******"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	var off *Trace
	tap := off.Tap(Client, "xml", "").On("lines", nil, masks)
	in := tap.Input(strings.NewReader("one\n"))
	r := bufio.NewReader(in)
	if line, err := r.ReadString('\n'); err != nil || line != "one\n" || in.seen != nil {
		t.Errorf("without a tap: %q, %v", line, err)
	}
	in.Keep(r, false)
	tap.Keep(true, false, []byte("x"))
	tap.Datagram(Flow{}, true, false, []byte("x"), true)
}

// A message that is longer than what is kept of one is cut, and the next one is whole again.
func TestLongInput(t *testing.T) {
	tr := New(Limits{Records: 100, Octets: 1 << 20, Message: longestSeen}, nil)
	here, there := net.Pipe()
	defer func() { _ = here.Close(); _ = there.Close() }()
	in := tr.Tap(Switch, "", "pbx").On("lines", here, nil).Input(io.MultiReader(strings.NewReader(strings.Repeat("x", 3*longestSeen)), strings.NewReader("\nnext\n")))
	r := bufio.NewReaderSize(in, 4096)
	for range 2 {
		if _, err := r.ReadBytes('\n'); err != nil {
			t.Fatal(err)
		}
		in.Keep(r, false)
	}
	list := tr.Read(0, Filter{}, 10).Records
	if len(list) != 2 || len(list[0].Octets) != longestSeen || list[0].Cut != 2*longestSeen+1 || string(list[1].Octets) != "next\n" {
		t.Fatalf("%d records, %d octets, %d cut", len(list), len(list[0].Octets), list[0].Cut)
	}
}
