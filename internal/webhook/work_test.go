package webhook

import (
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
)

// A template that works long with nothing that costs octets is refused before it is executed; one just within the limits
// takes little time.
func TestTemplateSteps(t *testing.T) {
	for name, text := range map[string]string{
		"arguments": `{{range 100}}{{if or ` + strings.Repeat("0 ", 8100) + `}}{{end}}{{end}}`,
		"variables": `{{$a := ""}}{{range 100}}` + strings.Repeat("{{$a}}", 2650) + `{{end}}`,
		"fields":    `{{range .csta.list}}` + strings.Repeat("{{$.link}}", 1600) + `{{end}}`,
		"chains":    `{{range $i, $x := .csta.list}}{{or (index $x)` + strings.Repeat(".a", 200) + `}}{{end}}`,
		"an else":   `{{range 100}}{{with .x}}{{else}}{{if not ` + strings.Repeat("(not 0) ", 300) + `}}{{end}}{{end}}{{end}}`,
		"two loops": strings.Repeat(`{{range 100}}`+strings.Repeat("{{.}}", 40)+`{{end}}`, 3),
		"declared":  `{{range 100}}` + strings.Repeat("{{$a := 0}}", 80) + `{{end}}`,
		"turns":     `{{range 101}}{{end}}`,
	} {
		if _, err := parseTemplate(text); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	list := `{"csta":{"list":[0` + strings.Repeat(",0", mostTurns) + `]}}`
	for name, tt := range map[string]struct{ text, data string }{
		"arguments": {`{{range 100}}{{if or ` + strings.Repeat("0 ", 190) + `}}{{end}}{{end}}`, `{}`},
		"no loop":   {strings.Repeat("{{$.link}}", 1600), `{}`},
		"a list":    {`{{range $i, $x := .csta.list}}{{else}}none{{end}}`, `{}`},
	} {
		made, err := parseTemplate(tt.text)
		if err != nil {
			t.Fatal(name, err)
		}
		begun := time.Now()
		if _, err := fill(made, &eventlog.Entry{Data: []byte(tt.data)}); err != nil || time.Since(begun) > time.Second {
			t.Error(name, err, time.Since(begun))
		}
	}
	for _, text := range []string{`{{range $i, $x := .csta.list}}{{end}}`, `{{range $x := len (print "` + strings.Repeat("x", 200) + `")}}{{end}}`, `{{range .csta.list | or}}{{end}}`} {
		made, err := parseTemplate(text)
		if err != nil {
			t.Fatal(text, err)
		}
		if body, err := fill(made, &eventlog.Entry{Data: []byte(list)}); err == nil || !strings.Contains(err.Error(), "at most 100") {
			t.Error(text, string(body), err)
		}
	}
}

// A template of a stranger ends soon, and takes little memory.
func TestTemplateBombs(t *testing.T) {
	e := &eventlog.Entry{Data: []byte(`{"type":"delivered","device":"100","csta":{"a":["` + strings.Repeat("x", 100<<10) + `"]}}`)}
	bombs := map[string]string{
		"doubling in a loop":  `{{$x := "aaaaaaaa"}}{{range 24}}{{$x = printf "%s%s" $x $x}}{{end}}done`,
		"doubling by writing": `{{$x := "aaaaaaaa"}}` + strings.Repeat(`{{$x = print $x $x}}`, 24) + `done`,
		"one value often":     `{{$x := json .}}{{$y := printf "` + strings.Repeat("%[1]s", 1000) + `" $x}}done`,
		"escaping":            `{{$x := json .}}` + strings.Repeat(`{{$x = urlquery $x "<" $x}}`, 12) + `done`,
		"comparing":           `{{$x := json .}}{{$y := json .}}{{range 100}}{{if eq $x $y}}{{end}}{{end}}done`,
		"counting":            `{{range len (index .csta.a 0)}}{{end}}done`,
		"work in a loop":      `{{range 100}}{{$x := json $}}{{end}}done`,
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
