package tests

import (
	"io"
	"strings"
	"time"
)

// repeated is a message that is sent again, ever less often (RFC 3261 section 17.1): datagrams can be lost.
type repeated struct {
	text  string
	pause time.Duration
	timer *time.Timer
}

const (
	firstRepeat = 500 * time.Millisecond // T1
	lastRepeat  = 4 * time.Second        // T2
)

// repeats sends a message again until settle is called with its key; over UDP only.
func (h *handset) repeats(key, text string) {
	if h.transport != "udp" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	r := &repeated{text: text, pause: firstRepeat}
	r.timer = time.AfterFunc(r.pause, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.closed || h.again[key] != r {
			return
		}
		_, _ = io.WriteString(h.conn, r.text)
		r.pause = min(2*r.pause, lastRepeat)
		r.timer.Reset(r.pause)
	})
	h.again[key] = r
}

// settle ends that a message is sent again. The caller holds h.mu.
func (h *handset) settle(key string) {
	if r := h.again[key]; r != nil {
		r.timer.Stop()
		delete(h.again, key)
	}
}

// invitation names an INVITE: its 200, and the ACK to that.
func (m *sipText) invitation() string {
	return m.header("Call-ID") + " " + strings.Fields(m.header("CSeq"))[0]
}

// transaction names a request and its answers.
func (m *sipText) transaction() string {
	return branchParameter.FindStringSubmatch(m.header("Via"))[1] + " " + strings.Fields(m.header("CSeq"))[1]
}

// take takes a message in: a request once, however often it comes.
func (h *handset) take(m *sipText) {
	if strings.HasPrefix(m.start, "SIP/2.0") {
		h.takeAnswer(m)
		return
	}
	h.mu.Lock()
	answer, again := h.taken[m.transaction()]
	if !again {
		h.taken[m.transaction()] = ""
	}
	if m.method() == "ACK" {
		h.settle(m.invitation())
	}
	h.mu.Unlock()
	switch {
	case again && answer != "": // our answer was late, or has not arrived
		h.write(answer)
	case again:
	case m.method() == "OPTIONS": // the switch asks whether we are there
		if !h.mute.Load() {
			h.answer(m, 200, nil, "")
		}
	default:
		h.inbox <- m
	}
}

func (h *handset) takeAnswer(m *sipText) {
	branch := branchParameter.FindStringSubmatch(m.header("Via"))[1]
	h.mu.Lock()
	waiting, ack := h.answers[branch], h.acks[branch]
	if m.code() >= 200 || strings.HasSuffix(m.header("CSeq"), "INVITE") {
		h.settle(branch)
	}
	h.mu.Unlock()
	switch {
	case m.code() >= 200 && ack != "": // our ACK was late, or has not arrived
		h.write(ack)
	case waiting != nil:
		waiting <- m
	}
}
