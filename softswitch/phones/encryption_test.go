package phones

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
)

// notes is a log.
type notes struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// The switch shakes hands with a caller that waits for it once it has answered, not while the call rings. If that
// fails, the call is cleared, and the log says why.
func TestHandshakeFails(t *testing.T) {
	var log notes
	w := aWorld(t, "", func(cfg *Config) {
		cfg.Telephones.Log = slog.New(slog.NewTextHandler(&log, nil))
		cfg.Encryption = map[string]media.Encryption{"100": media.DTLS}
		cfg.Media.Handshake = 300 * time.Millisecond
	})
	a, b := w.handset("100"), w.handset("101")
	voice, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer voice.Close()
	text := fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d UDP/TLS/RTP/SAVP 0\r\na=setup:passive\r\na=rtcp-mux\r\na=fingerprint:sha-256 00%s\r\n",
		voice.LocalAddr().(*net.UDPAddr).Port, strings.Repeat(":00", 31))
	final, progress := make(chan error, 1), make(chan int, 10)
	own := sip.UserURI("100", "127.0.0.1")
	go func() {
		_, _, err := a.ua.Invite(t.Context(), sip.Invite{
			To: sip.UserURI("101", "127.0.0.1"), Target: sip.WithUser(a.server, "101"), From: own, Username: "100", Password: "secret",
			ContentType: sdpType, Body: []byte(text), Progress: func(_ *sip.Dialog, res *sip.Response) { progress <- res.Code() },
		}, a)
		final <- err
	}()
	in := wait.Next(t, b.calls, "the call")
	b.ring(in)
	if code := wait.Next(t, progress, "ringing"); code != 180 {
		t.Errorf("the caller gets %d", code)
	}
	buf := make([]byte, 2000)
	_ = voice.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := voice.Read(buf); err == nil {
		t.Errorf("% x while the call rings", buf[:n])
	}
	b.answer(in)
	if err := wait.Next(t, final, "the answer"); err != nil {
		t.Fatal(err)
	}
	_ = voice.SetReadDeadline(time.Now().Add(wait.Limit))
	if n, err := voice.Read(buf); err != nil || n == 0 || buf[0] != 22 {
		t.Errorf("% x %v instead of a hello", buf[:n], err)
	}
	wait.Next(t, a.ended, "the end at the caller")
	wait.Next(t, b.ended, "the end at the callee")
	if got := log.String(); !strings.Contains(got, `msg="cleared a call: no keys for the voice of its telephone" device=100 err="no keys by DTLS: the telephone has not completed the handshake in time"`) {
		t.Error(got)
	}
	w.leave()
}
