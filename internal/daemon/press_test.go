package daemon

import (
	"context"
	"errors"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The virtual telephones of a demonstration are lifted, dialled and hung up as by their users; those of other proxies, and real ones,
// are not.
func TestPress(t *testing.T) {
	t.Parallel()
	const text = "sip: {listen: []}\nxml: {listen: []}\nasn1: {listen: []}\noperations: {address: \"\"}\ngrants: [{who: a, control: [\"*\"]}]\n" +
		"switch: {extensions: [{number: \"100\"}, {number: \"101\"}, {number: \"102\"}, {number: \"103\", sip: {password: abc}}]}\n"
	for _, play := range []bool{true, false} {
		cfg, err := config.Parse("x", []byte(text), Kinds())
		if err != nil {
			t.Fatal(err)
		}
		n, err := New(cfg, Options{Play: play})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		if err := n.Await(ctx); err != nil {
			t.Fatal(err)
		}
		states := func(number string) (list []uacsta.LocalConnectionState) {
			found, err := n.connectionsOf(number)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range found {
				list = append(list, c.state)
			}
			return list
		}
		for i, step := range []struct {
			number, what, digits string
			want                 error
			device               string
			state                uacsta.LocalConnectionState // "": on hook
		}{
			{"100", "lift", "", errNothing, "100", ""},
			{"100", "hang-up", "", errOnHook, "100", ""},
			{"100", "dial", "", errNoDigits, "100", ""},
			{"100", "dial", "101", nil, "101", uacsta.Alerting},
			{"101", "lift", "", nil, "101", uacsta.Connected},
			{"102", "dial", "101", nil, "102", uacsta.Connected}, // the call waits at 101
			{"102", "hang-up", "", nil, "102", ""},
			{"100", "hang-up", "", nil, "100", ""},
			{"103", "dial", "101", errNotVirtual, "101", ""},
			{"900", "lift", "", errNotVirtual, "100", ""},
		} {
			if !play {
				step.want, step.state = errNoPhones, ""
			}
			err := n.press(step.number, step.what, step.digits)
			if !errors.Is(err, step.want) {
				t.Errorf("%d: %v, want %v", i, err, step.want)
			}
			if got := states(step.device); (step.state == "") != (len(got) == 0) || len(got) > 0 && got[0] != step.state {
				t.Errorf("%d: %s is %v, want %s", i, step.device, got, step.state)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// An explanation has the rules that were tried, in order, with their lines, and the one that decided at the end.
func TestExplain(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("x.yaml", []byte("rules:\n- {name: no toll, deny: true, destinations: [\"0900*\"]}\n- {name: agents, who: [bob], may: [calls]}\n"+
		"grants:\n- {who: alice, control: [\"1*\"], dial: [\"*\"]}\n- {who: alice, observe: [\"*\"]}\n- {who: alice, control: [\"2*\"]}\nswitch: {extensions: [{number: \"100\"}]}\n"), Kinds())
	if err != nil {
		t.Fatal(err)
	}
	p, numbers, _, err := Decide(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Explain(cfg, p, numbers, Question{Identity: "Alice", Service: "call", Device: "100", Destinations: []string{"0123"}})
	want := []TriedRule{
		{"no toll", "x.yaml:2", "it names other destinations", false}, {"agents", "x.yaml:3", "it names other identities", false},
		{"the grant to alice (control)", "", "allowed by the grant to alice (control)", true}, // two grants are called so: the line is not known
	}
	if err != nil || !e.Allowed || e.Identity != "alice" || e.Service != uacsta.NameMakeCall || len(e.Steps) != len(want) || e.At != "" {
		t.Fatalf("%+v %v", e, err)
	}
	for i := range want {
		if e.Steps[i] != want[i] {
			t.Errorf("%d: %+v, want %+v", i, e.Steps[i], want[i])
		}
	}
	e, err = Explain(cfg, p, numbers, Question{Identity: "alice", Service: "MakeCall", Device: "100", Destinations: []string{"0900123"}})
	if err != nil || e.Allowed || e.Rule != "no toll" || e.At != "x.yaml:2" || len(e.Steps) != 1 || !e.Steps[0].Decides {
		t.Errorf("%+v %v", e, err)
	}
}
