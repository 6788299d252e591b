package registrar

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
)

// sendAll sends a subscriber the whole state.
func (s *Server) sendAll(sub *subscription) {
	sub.later(func() { s.send(sub, sub.documents()) })
}

// sendNew sends what has changed since the last NOTIFY.
func (s *Server) sendNew(sub *subscription) {
	s.mu.Lock()
	waits := sub.stale
	sub.stale = true
	s.mu.Unlock()
	if waits {
		return
	}
	sub.later(func() {
		s.mu.Lock()
		sub.stale = false
		s.mu.Unlock()
		var fresh []Document
		for _, d := range sub.documents() {
			s.mu.Lock()
			if sub.sent[d.Name] != d.Text {
				fresh = append(fresh, d)
			}
			s.mu.Unlock()
		}
		if len(fresh) > 0 {
			s.send(sub, fresh)
		}
	})
}

// repeat sends one document, even if it has not changed, because the telephone has requested a change. It sends
// nothing for a feature that the user does not have.
func (s *Server) repeat(sub *subscription, name string) {
	sub.later(func() {
		s.send(sub, slices.DeleteFunc(sub.documents(), func(d Document) bool { return d.Name != name }))
	})
}

func (sub *subscription) documents() []Document {
	return sub.pkg.Documents(sub.of, sub.by.Number, sub.model)
}

// send sends documents in one NOTIFY. Tasks of the subscription call it.
func (s *Server) send(sub *subscription, documents []Document) {
	s.mu.Lock()
	if sub.closed {
		s.mu.Unlock()
		return
	}
	for _, d := range documents {
		sub.sent[d.Name] = d.Text
	}
	version := sub.version
	sub.version++
	left := max(time.Until(sub.expires).Round(time.Second), 0)
	d := sub.dialog
	s.mu.Unlock()
	contentType, body := body(documents, version)
	d.Send("NOTIFY", contentType, []byte(body), nil, sip.Header{Name: "Event", Value: sub.event},
		sip.Header{Name: "Subscription-State", Value: fmt.Sprintf("active;expires=%d", left/time.Second)})
}

// body returns the body of a NOTIFY with documents.
func body(documents []Document, version int) (contentType, text string) {
	switch len(documents) {
	case 0:
		return "", ""
	case 1:
		return documents[0].Type, strings.Replace(documents[0].Text, `version="VERSION"`, fmt.Sprintf(`version="%d"`, version), 1)
	}
	var b strings.Builder
	for _, doc := range documents {
		fmt.Fprintf(&b, "--fks\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s\r\n", doc.Type, len(doc.Text), doc.Text)
	}
	b.WriteString("--fks--\r\n")
	return `multipart/mixed;boundary=fks`, b.String()
}
