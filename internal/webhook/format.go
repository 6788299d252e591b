package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"text/template"
	"text/template/parse"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
)

// mostBody is the most that a template may write, in octets.
const mostBody = 1 << 20

// A format makes the body of a request of an event.
type format struct {
	mediaType string
	body      func(*eventlog.Entry) ([]byte, error)
}

// format returns the format of the hook. source identifies this log in CloudEvents.
func (h *Hook) format(source string) (format, error) {
	switch h.Format {
	case "", CloudEvents:
		return format{"application/cloudevents+json", func(e *eventlog.Entry) ([]byte, error) { return cloudEvent(e, source) }}, nil
	case Zammad:
		return format{mediaType: "application/json"}, nil // [calls] makes the bodies
	case Template:
		t, err := parseTemplate(h.Template)
		mediaType := h.ContentType
		if mediaType == "" {
			mediaType = "application/json"
		}
		return format{mediaType, func(e *eventlog.Entry) ([]byte, error) { return fill(t, e) }}, err
	}
	return format{}, fmt.Errorf("is %q; write cloudevents, zammad or template", h.Format)
}

// cloudEvent returns an event as CloudEvents 1.0 has it, in structured mode.
func cloudEvent(e *eventlog.Entry, source string) ([]byte, error) {
	return json.Marshal(struct {
		Version string          `json:"specversion"`
		ID      string          `json:"id"`
		Source  string          `json:"source"`
		Type    string          `json:"type"`
		Subject string          `json:"subject,omitempty"`
		Time    string          `json:"time"`
		Media   string          `json:"datacontenttype"`
		Data    json.RawMessage `json:"data"`
	}{"1.0", strconv.FormatUint(e.Seq, 10), source, "tr87proxy." + e.Kind, e.Device, e.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00"), "application/json", e.Data})
}

// parseTemplate reads a template. Strangers write templates, so it refuses those whose execution may take long: with
// definitions, loops within loops, or large numbers.
func parseTemplate(text string) (*template.Template, error) {
	if text == "" || len(text) > mostText {
		return nil, fmt.Errorf("must have 1 to %d octets", mostText)
	}
	t, err := template.New("body").Funcs((&work{}).functions()).Parse(text)
	if err != nil {
		return nil, err
	}
	if len(t.Templates()) > 1 || t.Tree == nil {
		return nil, errors.New("must not define templates")
	}
	return t, limited(t.Root, false)
}

// limited walks through a template. loop says that the node is in a loop.
func limited(node parse.Node, loop bool) error {
	var nodes []parse.Node
	add := func(list *parse.ListNode) {
		if list != nil {
			nodes = append(nodes, list.Nodes...)
		}
	}
	branch := func(b *parse.BranchNode) {
		nodes = append(nodes, b.Pipe)
		add(b.List)
		add(b.ElseList)
	}
	switch n := node.(type) {
	case *parse.ListNode:
		add(n)
	case *parse.ActionNode:
		nodes = append(nodes, n.Pipe)
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			nodes = append(nodes, command.Args...)
		}
	case *parse.ChainNode:
		nodes = append(nodes, n.Node)
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		if loop {
			return errors.New("must not have a loop within a loop")
		}
		loop = true
		branch(&n.BranchNode)
	case *parse.TemplateNode:
		return errors.New("must not call templates")
	case *parse.NumberNode:
		if n.IsInt && (n.Int64 > 1000 || n.Int64 < -1000) || n.IsUint && n.Uint64 > 1000 {
			return errors.New("must not have numbers above 1000")
		}
	}
	for _, n := range nodes {
		if err := limited(n, loop); err != nil {
			return err
		}
	}
	return nil
}

// members are those that events can have; a template finds "" where an event has none.
var members = map[string]any{"id": "", "seq": "", "time": "", "type": "", "device": "", "call": "", "link": "", "caller": "", "called": "", "state": "", "cause": ""}

// fill executes a template for an event.
func fill(t *template.Template, e *eventlog.Entry) ([]byte, error) {
	values := maps.Clone(members)
	d := json.NewDecoder(bytes.NewReader(e.Data))
	d.UseNumber()
	if err := d.Decode(&values); err != nil {
		return nil, err
	}
	t, err := t.Clone()
	if err != nil {
		return nil, err
	}
	var b bounded
	err = t.Funcs((&work{left: mostWork}).functions()).Execute(&b, values)
	return b.Bytes(), err
}

// bounded is a buffer that takes at most mostBody octets.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > mostBody {
		return 0, fmt.Errorf("the template writes more than %d octets", mostBody)
	}
	return b.Buffer.Write(p)
}
