package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/policy"
)

// target is what a hook sends to.
type target struct {
	hook     *Hook
	devices  *policy.Devices // of the hook; nil: all
	client   *http.Client
	keys     [][]byte
	format   format
	instance string // identifies this log
}

// wants reports whether events of a device and of a type go to the hook.
func (t *target) wants(device, kind string) bool {
	return (len(t.hook.Types) == 0 || slices.Contains(t.hook.Types, kind)) && (t.devices == nil || t.devices.Match(device))
}

// result is how an attempt ended. Without reason it was a success.
type result struct {
	reason  string        // why it failed
	refused bool          // the receiver will not take this event
	gone    bool          // the receiver wants no events
	pause   time.Duration // how long the receiver wants no request
}

// The sizes of what is read of a response, and shown of it.
const (
	mostResponse = 4 << 10
	mostShown    = 200
)

// mostPause is how long a Retry-After may pause a hook.
const mostPause = 24 * time.Hour

// send sends what was made of an event once.
func (t *target) send(ctx context.Context, e *eventlog.Entry, body []byte) result {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.hook.URL, bytes.NewReader(body)) //nolint:gosec // the client checks the address
	if err != nil {
		return result{reason: "the URL cannot be used"}
	}
	request.Header.Set("Content-Type", t.format.mediaType)
	request.Header.Set("User-Agent", "tr87proxy")
	t.sign(request.Header, t.instance+"-"+strconv.FormatUint(e.Seq, 10), time.Now(), body)
	response, err := t.client.Do(request) //nolint:gosec // it checks the address
	if err != nil {
		return result{reason: withoutURL(err)}
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(response.Body, mostResponse)) // what is missing does not matter
	if response.StatusCode/100 == 2 || t.hook.Format == Zammad && settled(string(text)) {
		return result{}
	}
	r := result{reason: fmt.Sprintf("%d %s", response.StatusCode, http.StatusText(response.StatusCode))}
	if shown := strings.Join(strings.Fields(strings.ToValidUTF8(string(text), "")), " "); shown != "" {
		r.reason += ": " + strings.ToValidUTF8(shown[:min(len(shown), mostShown)], "")
	}
	switch response.StatusCode {
	case http.StatusGone:
		r.gone = true
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		r.refused = true
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		r.pause = retryAfter(response.Header.Get("Retry-After"), time.Now())
	}
	return r
}

// sign adds the headers of Standard Webhooks.
func (t *target) sign(h http.Header, id string, now time.Time, body []byte) {
	at := strconv.FormatInt(now.Unix(), 10)
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", at)
	signatures := make([]string, 0, len(t.keys))
	for _, key := range t.keys {
		mac := hmac.New(sha256.New, key)
		_, _ = io.WriteString(mac, id+"."+at+".")
		_, _ = mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if len(signatures) > 0 {
		h.Set("Webhook-Signature", strings.Join(signatures, " "))
	}
}

// withoutURL returns the text of an error of a request. A URL may have a password, or a token.
func withoutURL(err error) string {
	var of *url.Error
	if errors.As(err, &of) {
		if of.Timeout() {
			return "no response in time"
		}
		err = of.Err
	}
	var resolving *net.DNSError
	switch {
	case errors.As(err, &resolving): // it would name our name server
		return "the host of the URL cannot be resolved"
	case errors.Is(err, ErrAddress):
		return ErrAddress.Error()
	}
	return err.Error()
}

// retryAfter returns the time that a header Retry-After names: seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	var pause time.Duration
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		pause = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		pause = at.Sub(now)
	}
	return min(max(pause, 0), mostPause)
}
