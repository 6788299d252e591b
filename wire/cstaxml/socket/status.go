package socket

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/coder/websocket"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// maxReason is the length of the longest reason of closing, in octets (RFC 6455 section 5.5.1).
const maxReason = 120

// statuses say with which status code of RFC 6455 a WebSocket closes for which reason; the first that holds counts.
var statuses = []struct {
	code websocket.StatusCode
	is   func(reason error) bool
}{
	{websocket.StatusNormalClosure, func(reason error) bool {
		return reason == nil || errors.Is(reason, gate.ErrClosed) || errors.Is(reason, io.EOF)
	}},
	{websocket.StatusGoingAway, func(reason error) bool {
		return errors.Is(reason, context.Canceled) || errors.Is(reason, kind.ErrStopped)
	}},
	{websocket.StatusMessageTooBig, func(reason error) bool { return errors.Is(reason, cstaxml.ErrTooLong) }},
	{websocket.StatusInvalidFramePayloadData, func(reason error) bool {
		return errors.As(reason, new(*invalidError)) || errors.Is(reason, cstaxml.ErrFormat) || errors.Is(reason, cstaxml.ErrLength) || errors.Is(reason, cstaxml.ErrInvokeID)
	}},
	{websocket.StatusTryAgainLater, func(reason error) bool {
		return gate.Evicted(reason) || errors.Is(reason, gate.ErrSlow) || errors.Is(reason, proxy.ErrSlow) || errors.Is(reason, proxy.ErrTooMany) || errors.Is(reason, os.ErrDeadlineExceeded)
	}},
	{websocket.StatusInternalError, func(reason error) bool { return strings.HasPrefix(reason.Error(), "panic: ") }},
}

// statusOf returns the status code for a reason, and its text for the client.
func statusOf(reason error) (websocket.StatusCode, string) {
	for _, s := range statuses {
		if s.is(reason) {
			return s.code, textOf(s.code, reason)
		}
	}
	return websocket.StatusPolicyViolation, textOf(websocket.StatusPolicyViolation, reason)
}

func textOf(code websocket.StatusCode, reason error) string {
	switch code {
	case websocket.StatusNormalClosure:
		return ""
	case websocket.StatusGoingAway:
		return "the proxy is closing this listener"
	case websocket.StatusInternalError:
		return "internal error"
	}
	text := reason.Error()
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "")
	}
	return text
}
