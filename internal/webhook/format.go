package webhook

import (
	"bytes"
	"cmp"
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

// The limits of a template.
const (
	mostNodes  = 20_000 // that one execution goes through
	mostTurns  = 100    // of a loop
	mostNumber = 1000
)

// parseTemplate reads a template. Strangers write templates, so it refuses those whose execution may take long. Go's
// execution cannot be interrupted: it must be short.
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
	nodes, err := limited(t.Root, false)
	if err == nil && nodes > mostNodes {
		err = fmt.Errorf("is too long: its execution may take %d steps, counting what is in a loop %d times; at most %d", nodes, mostTurns, mostNodes)
	}
	return t, err
}

// limited limits the turns of loops in a part of a template, and returns how many nodes an execution goes through at most.
// loop says that the part is in a loop.
func limited(node parse.Node, loop bool) (nodes int, err error) {
	nodes = 1
	add := func(times int, parts ...parse.Node) {
		for _, part := range parts {
			n, fault := limited(part, loop)
			nodes += n * times
			err = cmp.Or(err, fault)
		}
	}
	branch := func(b *parse.BranchNode, times int) {
		add(1, b.Pipe)
		loop = loop || times > 1
		add(times, b.List)
		if b.ElseList != nil {
			add(1, b.ElseList)
		}
	}
	switch n := node.(type) {
	case *parse.ListNode:
		add(1, n.Nodes...)
	case *parse.ActionNode:
		add(1, n.Pipe)
	case *parse.PipeNode:
		nodes += len(n.Decl)
		for _, command := range n.Cmds {
			add(1, command.Args...)
		}
	case *parse.FieldNode:
		nodes += len(n.Ident)
	case *parse.VariableNode:
		nodes += len(n.Ident)
	case *parse.ChainNode:
		nodes += len(n.Field)
		add(1, n.Node)
	case *parse.IfNode:
		branch(&n.BranchNode, 1)
	case *parse.WithNode:
		branch(&n.BranchNode, 1)
	case *parse.RangeNode:
		if loop {
			return 0, errors.New("must not have a loop within a loop")
		}
		if tooMany(n.Pipe) {
			return 0, fmt.Errorf("must not have a loop with more than %d turns", mostTurns)
		}
		turns := &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{parse.NewIdentifier("turns")}}
		n.Pipe.Cmds = append(n.Pipe.Cmds, turns)
		branch(&n.BranchNode, mostTurns)
	case *parse.TemplateNode:
		return 0, errors.New("must not call templates")
	case *parse.NumberNode:
		if n.IsInt && (n.Int64 > mostNumber || n.Int64 < -mostNumber) || n.IsUint && n.Uint64 > mostNumber {
			return 0, fmt.Errorf("must not have numbers above %d", mostNumber)
		}
	}
	return nodes, err
}

// tooMany reports whether a loop has too many turns at each execution.
func tooMany(loop *parse.PipeNode) bool {
	n, ok := loop.Cmds[0].Args[0].(*parse.NumberNode)
	return ok && n.IsInt && n.Int64 > mostTurns
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
