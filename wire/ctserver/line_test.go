package ctserver

import (
	"encoding/xml"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// A line never becomes two.
func TestLine(t *testing.T) {
	for _, arg := range []string{"a b", "a\nb", "a=b", "a\x00", "é", strings.Repeat("x", 300)} {
		if text, err := (&Line{Name: "ctdial", Args: []string{arg}}).Text(); err == nil {
			t.Errorf("%q becomes %q", arg, text)
		}
	}
	text, err := (&Line{Name: "ctdial", Src: 2, Dst: 2, Args: []string{"0,1#"}}).Text()
	if err != nil || text != "cmd=ctdial src=2 dst=2 arg1=0,1# argc=1 \n" {
		t.Errorf("%q %v", text, err)
	}
}

// Nothing is read from a line that XML cannot carry.
func TestLegible(t *testing.T) {
	for text, want := range map[string]string{
		"cid 08\x0091": "0891", "cid \x01\x1b2": "\uFFFD\uFFFD2", "cid \xff\ufffe": "\uFFFD\uFFFD", "dtmf \x07": "\uFFFD", "cid Zoë": "Zoë",
	} {
		l := parseLine(text)
		if got := l.Arg(2); got != want {
			t.Errorf("%q is read as %q, not %q", text, got, want)
		}
		if err := xml.Unmarshal([]byte("<a>"+l.Arg(2)+"</a>"), new(struct{})); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzLine reads lines of all kinds; what is read can be written, or says that it cannot.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{"rly=ctanswer src=3 dst=3 arg1=OK argc=1", "ring", "cmd=ctdial src=0 dst=0 arg1=123 argc=1 ", "rly=ctwaitforring src=0 dst=0 arg1=EVENT arg2= arg3=hangup argc=3", "\x00dtmf 5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := parseLine(text)
		if len(l.Args) > maxArgs {
			t.Fatalf("%d arguments", len(l.Args))
		}
		_, _ = l.Event()
		l.Name = "ctdial"
		if written, err := l.Text(); err == nil && strings.Count(written, "\n") != 1 {
			t.Fatalf("%q", written)
		}
	})
}

var printable = regexp.MustCompile(`^[!-<>-~]{0,256}$`)

// FuzzWord writes any text as an argument. It is written as it is, or not at all; its word is always written.
func FuzzWord(f *testing.F) {
	for _, text := range []string{"0,891*#", "", " ", "1 2", "1\n", "1\ncmd=shutdown src=-2 dst=-2 argc=0", "1 arg2=x", "arg1=", "&1", "=", "é", "\x00", "\x7f", strings.Repeat("a", 300)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		word := Word(text)
		for _, arg := range []string{text, word} {
			written, err := (&Line{Name: "event", Reply: true, Args: []string{arg, "x"}}).Text()
			if (err == nil) != printable.MatchString(arg) || err == nil && written != "rly=event src=0 dst=0 arg1="+arg+" arg2=x argc=2 \n" {
				t.Fatalf("%q is written as %q: %v", arg, written, err)
			}
		}
		if !printable.MatchString(word) || printable.MatchString(text) && word != text || len(text) <= 256 && utf8.RuneCountInString(word) != utf8.RuneCountInString(text) {
			t.Fatalf("the word of %q is %q", text, word)
		}
	})
}
