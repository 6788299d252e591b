package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/coder/websocket"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// webSocket is a WebSocket of the API. It reads all the time, as only a client that reads answers pings.
type webSocket struct {
	t     *testing.T
	conn  *websocket.Conn
	heard chan []byte // closed when the WebSocket has ended
	next  int
}

// webSocket opens a WebSocket of a subprotocol, from an address.
func (s *stage) webSocket(from, protocol string) *webSocket {
	s.t.Helper()
	base := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext}
	s.t.Cleanup(base.CloseIdleConnections)
	query := "?devices=" + s.words["me"]
	if protocol == "csta-xml" {
		query = ""
	}
	conn, _, err := websocket.Dial(s.t.Context(), fmt.Sprintf("ws://127.0.0.1:%d/v1/events%s", s.http, query), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: base}, Subprotocols: []string{protocol},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	w := &webSocket{t: s.t, conn: conn, heard: make(chan []byte, 100_000)}
	go func() {
		defer close(w.heard)
		for {
			_, data, err := conn.Read(context.Background())
			if err != nil {
				return
			}
			w.heard <- data
		}
	}()
	s.t.Cleanup(func() {
		_ = conn.CloseNow()
		for range w.heard { // until the reader has ended
		}
	})
	return w
}

func (w *webSocket) write(data []byte) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := w.conn.Write(ctx, websocket.MessageText, data); err != nil {
		w.t.Fatal(err)
	}
}

func (w *webSocket) read() []byte {
	w.t.Helper()
	return wait.Next(w.t, w.heard, "a message over a WebSocket")
}

// request sends a request, and returns its id.
func (w *webSocket) request(method, path, kind string, body any) string {
	w.t.Helper()
	w.next++
	message := map[string]any{"id": strconv.Itoa(w.next), "method": method, "path": path}
	if body != nil {
		message["body"] = body
	}
	if kind != "" {
		message["headers"] = map[string]string{"Content-Type": kind}
	}
	data, err := json.Marshal(message)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(data)
	return strconv.Itoa(w.next)
}

// response returns the next response, and what was asked. It leaves out events.
func (w *webSocket) response() (id string, answer said) {
	w.t.Helper()
	for {
		var res struct {
			ID     string
			Status int
			Body   json.RawMessage
		}
		data := w.read()
		if err := json.Unmarshal(data, &res); err != nil {
			w.t.Fatal(err)
		}
		if res.Status == 0 {
			continue
		}
		var text string
		if json.Unmarshal(res.Body, &text) == nil {
			res.Body = []byte(text)
		}
		return res.ID, said{status: res.Status, body: res.Body}
	}
}

// ask sends a request as webClient.ask does.
func (w *webSocket) ask(method, path, body string, _ ...string) said {
	w.t.Helper()
	var sent any
	if body != "" {
		sent = json.RawMessage(body)
	}
	asked := w.request(method, path, "", sent)
	id, answer := w.response()
	if id != asked {
		w.t.Fatalf("%s was asked, and %s answered", asked, id)
	}
	return answer
}

// overWebSocket lets Mallory in over WebSockets: with documents in POST /v1/csta, and by the subprotocol whose messages are
// documents.
func (s *stage) overWebSocket() []mallory {
	return []mallory{
		{front: "a WebSocket in XML", who: malloryWeb, send: s.inRequests(s.webSocket(malloryWeb, "events"))},
		{front: "csta-xml", who: malloryWeb, send: inMessages(s.webSocket(malloryWeb, "csta-xml"))},
	}
}

// inRequests sends documents in requests, many at a time.
func (s *stage) inRequests(w *webSocket) func([]string, string) []*uacsta.Message {
	return func(documents []string, _ string) []*uacsta.Message {
		s.t.Helper()
		answers := make([]*uacsta.Message, len(documents))
		sent := map[string]int{} // id -> place
		for answered := range documents {
			for len(sent) < len(documents) && len(sent)-answered < atOnce {
				sent[w.request("POST", "/v1/csta", "application/xml", documents[len(sent)])] = len(sent)
			}
			id, answer := w.response()
			n, asked := sent[id]
			if !asked {
				s.t.Fatalf("nobody asked %s: %s", id, answer)
			}
			answers[n] = s.answerIn(answer)
		}
		return answers
	}
}

// inMessages sends documents as messages. They are answered in their order.
func inMessages(w *webSocket) func([]string, string) []*uacsta.Message {
	return func(documents []string, barrier string) []*uacsta.Message {
		w.t.Helper()
		answers := make([]*uacsta.Message, len(documents))
		all := documents
		if barrier != "" {
			all = append(slices.Clone(documents), barrier)
		}
		sent := 0
		for answered := 0; answered < len(all); {
			for ; sent < len(all) && sent-answered < atOnce; sent++ {
				w.write([]byte(all[sent]))
			}
			m, err := uacsta.Parse(w.read())
			switch {
			case err != nil:
				w.t.Fatal(err)
			case m.Kind() == uacsta.Event || m.Kind() == uacsta.Request:
				continue
			case answered == len(documents) || barrier != "" && m.Name() == uacsta.NameSnapshotDevice+"Response":
				return answers
			}
			answers[answered] = m
			answered++
		}
		return answers
	}
}
