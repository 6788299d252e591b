package webhook

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
)

// A template of a stranger ends soon, and takes little memory.
func TestTemplateBombs(t *testing.T) {
	e := &eventlog.Entry{Data: []byte(`{"type":"delivered","device":"100","csta":{"a":["` + strings.Repeat("x", 100<<10) + `"]}}`)}
	bombs := map[string]string{
		"doubling in a loop":  `{{$x := "aaaaaaaa"}}{{range 24}}{{$x = printf "%s%s" $x $x}}{{end}}done`,
		"doubling by writing": `{{$x := "aaaaaaaa"}}` + strings.Repeat(`{{$x = print $x $x}}`, 24) + `done`,
		"one value often":     `{{$x := json .}}{{$y := printf "` + strings.Repeat("%[1]s", 1000) + `" $x}}done`,
		"escaping":            `{{$x := json .}}` + strings.Repeat(`{{$x = urlquery $x "<" $x}}`, 12) + `done`,
		"comparing":           `{{$x := json .}}{{$y := json .}}{{range 1000}}{{if eq $x $y}}{{end}}{{end}}done`,
		"counting":            `{{range len (index .csta.a 0)}}{{end}}done`,
		"work in a loop":      `{{range 1000}}{{$x := json $}}{{end}}done`,
	}
	for name, text := range bombs {
		made, err := parseTemplate(text)
		if err != nil {
			t.Fatal(name, err)
		}
		if body, err := fill(made, e); err == nil {
			t.Errorf("%s: %d octets", name, len(body))
		}
	}
	for text, want := range map[string]string{
		`{{if eq .type "failed" "delivered"}}{{print .device 1}}{{end}}`:                                            "1001",
		`{{ne .device "100"}} {{lt 1 2}} {{ge .device "1"}} {{eq .csta.b true}} {{eq .csta.c nil}} {{gt .seq "1"}}`: "false true true true true true",
		`{{html "<"}}{{js "'"}}{{urlquery "&"}}{{len .device}}{{printf "%s-%02d" .device 7}}{{json .device}}`:       `&lt;\'%263100-07"100"`,
	} {
		made, err := parseTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		body, err := fill(made, &eventlog.Entry{Data: []byte(`{"seq":5,"type":"delivered","device":"100","csta":{"b":true}}`)})
		if err != nil || string(body) != want {
			t.Errorf("%s: %s %v", text, body, err)
		}
	}
}
