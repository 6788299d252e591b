package asn1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// reply is what came of a request.
type reply struct {
	m   *uacsta.Message
	err error
}

// comesOf is what comes of a request when the peer takes so many octets of it, says something, and
// hangs up. say gets the request, when the peer has taken all.
func comesOf(t *testing.T, f Flavour, log *bytes.Buffer, octets int, say func(req *PDU) []byte) (replies []reply) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := NewConn(near, nil, NewCodec(f, HexCallIDs), gate.Limits{Log: slog.New(slog.NewTextHandler(log, nil))})
		c.Establish()
		served := make(chan error, 1)
		go func() { served <- c.Serve(context.Background()) }()
		got := make(chan reply, 2)
		c.Request(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: "0007"}, Edition), func(m *uacsta.Message, err error) { got <- reply{m, err} })
		taken := make([]byte, octets)
		if _, err := io.ReadFull(far, taken); err != nil {
			t.Error(err)
		}
		if _, err := far.Write(say(requestIn(f, taken))); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		_ = far.Close()
		<-served
		close(got)
		for r := range got {
			replies = append(replies, r)
		}
	})
	return replies
}

// requestIn reads the request in a frame; nil: it is not whole.
func requestIn(f Flavour, frame []byte) *PDU {
	data, err := f.frames.read(bufio.NewReader(bytes.NewReader(frame)), MaxPDU, func() {})
	if err != nil {
		return nil
	}
	p, err := parse(data)
	if err != nil {
		return nil
	}
	m, err := readPDU(p)
	if err != nil {
		return nil
	}
	return m
}

// lengthOf is how many octets the request takes that comesOf sends.
func lengthOf(t *testing.T, f Flavour) int {
	t.Helper()
	m := &PDU{Kind: Invoke, id: []byte{1}}
	var err error
	if m.operation, m.body, err = codecOf(f.Name).putRequest(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: "0007"}, Edition)); err != nil {
		t.Fatal(err)
	}
	frame, err := f.frames.frame(m.octets())
	if err != nil {
		t.Fatal(err)
	}
	return len(frame)
}

// A connection that is cut off after any octet of a request, or of its answer: the request is
// answered once.
func TestCutOff(t *testing.T) {
	var log bytes.Buffer
	for _, f := range []Flavour{Phase3, HiPath, Phase1} {
		for octets := range lengthOf(t, f) {
			if replies := comesOf(t, f, &log, octets, func(*PDU) []byte { return nil }); len(replies) != 1 || !errors.Is(replies[0].err, gate.ErrClosed) {
				t.Errorf("%s: after %d octets: %v", f.Name, octets, replies)
			}
		}
		for octets, length := 0, 1; octets <= length; octets++ {
			replies := comesOf(t, f, &log, lengthOf(t, f), func(req *PDU) []byte {
				frame, err := f.frames.frame((&PDU{Kind: ReturnResult, id: req.id, operation: req.operation, body: null()}).octets())
				if err != nil {
					t.Error(err)
				}
				length = len(frame)
				return frame[:octets]
			})
			switch whole := octets == length; {
			case len(replies) != 1, whole && replies[0].err != nil, !whole && !errors.Is(replies[0].err, gate.ErrClosed):
				t.Errorf("%s: after %d octets of the answer: %v", f.Name, octets, replies)
			}
		}
	}
}

// A result of another operation is no answer, and is told as a refusal.
func TestWrongAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(req *PDU) *PDU
		wrong  bool
	}{
		"the same": {func(req *PDU) *PDU {
			return &PDU{Kind: ReturnResult, id: req.id, operation: req.operation, body: null()}
		}, false},
		"another": {func(req *PDU) *PDU {
			return &PDU{Kind: ReturnResult, id: req.id, operation: req.operation + 1, body: null()}
		}, true},
		"one of events": {func(req *PDU) *PDU { return &PDU{Kind: ReturnResult, id: req.id, operation: eventReport, body: null()} }, true},
	} {
		for _, f := range []Flavour{Phase3, HiPath, Phase1} {
			var log bytes.Buffer
			replies := comesOf(t, f, &log, lengthOf(t, f), func(req *PDU) []byte {
				frame, err := f.frames.frame(tt.answer(req).octets())
				if err != nil {
					t.Error(err)
				}
				return frame
			})
			if len(replies) != 1 || tt.wrong != errors.Is(replies[0].err, uacsta.Refuse(uacsta.Operation, uacsta.Generic)) || tt.wrong == (replies[0].m != nil) {
				t.Errorf("%s, %s: %v", f.Name, name, replies)
			}
			if tt.wrong != strings.Contains(log.String(), "response of another service") {
				t.Errorf("%s, %s: the log says %q", f.Name, name, log.String())
			}
		}
	}
	// a result that says no operation has no value, and one by the older code is the same
	c := NewConn(nil, nil, NewCodec(Phase3, HexCallIDs), gate.Limits{})
	for _, m := range []*PDU{{Kind: ReturnResult, empty: true}, {Kind: ReturnResult, operation: 52}} {
		if res, err := c.readAnswer("SystemStatus", 211, m); err != nil || res.Name() != "SystemStatusResponse" {
			t.Errorf("%+v: %v %v", m, res, err)
		}
	}
}
