package ctserver

import (
	"bufio"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// commands reads commands until there are no more.
func commands(text string) (list []Line, plain []bool, err error) {
	r := bufio.NewReaderSize(strings.NewReader(text), MaxLine)
	for {
		l, old, err := ReadCommand(r)
		if err != nil {
			return list, plain, err
		}
		list, plain = append(list, *l), append(plain, old)
	}
}

// Commands in the older form have their arguments in the lines behind them.
func TestReadCommand(t *testing.T) {
	got, plain, err := commands("ctanswer\nctplay_async\n/a=b/beep 1.au\nctrecord\nx.wav\n5\n\nctcollect\n3\n\x0010\n2\ncmd=ctplay src=0 dst=0 arg1=x.au argc=1 \nctsendevent\n2\nSTOP\nctsendevent\nx\nSTOP\nctjoin\n 1 \n 2 \n")
	want := []Line{
		{Name: "ctanswer"}, {Name: "ctplayasync", Args: []string{"/a=b/beep 1.au"}}, {Name: "ctrecord", Args: []string{"x.wav", "5", ""}}, {Name: "ctcollect", Args: []string{"3", "10", "2"}},
		{Name: "ctplay", Args: []string{"x.au"}}, {Name: "ctsendevent", Dst: 2, Args: []string{"STOP"}}, {Name: "ctsendevent", Dst: -1, Args: []string{"STOP"}}, {Name: "ctjoin", Args: []string{"1", "2"}},
	}
	if !errors.Is(err, io.EOF) || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	if want := []bool{true, true, true, true, false, true, true, true}; !reflect.DeepEqual(plain, want) {
		t.Errorf("%v", plain)
	}
	for text, want := range map[string]error{"ctplay\n": io.ErrUnexpectedEOF, "ctplay\nx": io.ErrUnexpectedEOF, "ctplay\n" + strings.Repeat("x", MaxLine) + "\n": ErrLine} {
		if _, _, err := commands(text); !errors.Is(err, want) {
			t.Errorf("%.20q: %v, want %v", text, err, want)
		}
	}
	if got, plain, _ := commands("nonsense\n"); len(got) != 1 || got[0].Name != "" || plain[0] {
		t.Errorf("%+v", got)
	}
}

// A reply in the older form is one word in a line.
func TestPlain(t *testing.T) {
	for _, tt := range []struct {
		line Line
		want string
	}{
		{Line{Name: "ctanswer", Args: []string{"OK"}}, "OK\n"}, {Line{Name: "ctplay", Args: []string{"OK", ""}}, "OK\n"}, {Line{Name: "ctplay", Args: []string{"OK", "5"}}, "5\n"},
		{Line{Name: "ctplay", Args: []string{"ERROR"}}, "ERROR\n"}, {Line{Name: "ctplay", Args: []string{"EVENT", "", "hangup"}}, "hangup\n"}, {Line{Name: "ctsleep", Args: []string{"EVENT", "5", "hangup"}}, "5\n"},
		{Line{Name: "ctcollect", Args: []string{"OK", ""}}, "\n"}, {Line{Name: "ctcollect", Args: []string{"OK", "12"}}, "12\n"}, {Line{Name: "ctcollect", Args: []string{"ERROR"}}, "ERROR\n"},
		{Line{Name: "ctrecord", Args: []string{"OK", "5"}}, "OK\n"}, {Line{Name: "ctwaitforring", Args: []string{"OK", "101"}}, "101\n"},
		{Line{Name: "ctwaitforevent", Src: 2, Args: []string{"OK", "a b"}}, "2\na?b\n"},
	} {
		if got := tt.line.Plain(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.line, got, tt.want)
		}
	}
}

// FuzzReadCommand reads commands in both forms; none is larger than its lines.
func FuzzReadCommand(f *testing.F) {
	f.Add("ctrecord\nx.wav\n5\n#\ncmd=ctplay src=0 dst=0 arg1=x.au argc=1 \n")
	f.Add("ctsendevent\n99999999999999999999\nx\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, _, err := commands(text)
		if err == nil || len(list) > strings.Count(text, "\n") {
			t.Fatalf("%d commands of %q: %v", len(list), text, err)
		}
		for _, l := range list {
			if reply := l.Plain(); strings.Count(reply, "\n") != 1 && l.Name != "ctwaitforevent" {
				t.Fatalf("%q", reply)
			}
		}
	})
}
