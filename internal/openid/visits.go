package openid

import (
	"bytes"
	"context"
	cryptotls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

const (
	patience = 5 * time.Second  // for each fetch
	pause    = 10 * time.Second // between two fetches of the same document: strangers can cause them with invented keys
	shortest = time.Second      // the pause after a failure, doubled with each ...
	longest  = time.Minute      // ... up to this
	maxBody  = 1 << 20
	maxPages = 8 // pauses remembered; a provider has two documents
)

// visits is the transport of fetches from the provider: few, small, and with pauses between them.
type visits struct {
	base    *http.Transport
	ctx     context.Context //nolint:containedctx // ends with close
	cancel  func()
	current sync.WaitGroup
	clock   func() time.Time

	mu    sync.Mutex
	pages map[string]page
}

// page is the state of a document.
type page struct {
	next  time.Time // when it may be fetched again
	pause time.Duration
	err   error // of the last fetch
}

// tooEarly is the error of a fetch that was not made.
type tooEarly struct {
	wait  time.Duration
	after error // that the last fetch ended with; nil: it went well
}

func (e *tooEarly) Error() string {
	if e.after == nil {
		return "fetched a moment ago"
	}
	return e.after.Error()
}

func newVisits(secure *cryptotls.Config) *visits {
	v := &visits{clock: time.Now, pages: map[string]page{}, base: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, ForceAttemptHTTP2: true, MaxConnsPerHost: 2, MaxIdleConns: 2, IdleConnTimeout: time.Minute,
		DialContext: (&net.Dialer{Timeout: patience}).DialContext, TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience, MaxResponseHeaderBytes: 64 << 10,
	}}
	v.ctx, v.cancel = context.WithCancel(context.Background())
	return v
}

// close ends all fetches.
func (v *visits) close() {
	v.mu.Lock()
	v.cancel() // under the lock: none begins after it
	v.mu.Unlock()
	v.current.Wait()
	v.base.CloseIdleConnections()
}

// RoundTrip implements http.RoundTripper.
func (v *visits) RoundTrip(r *http.Request) (*http.Response, error) {
	key := r.URL.String()
	if err := v.begin(key); err != nil {
		return nil, err
	}
	defer v.current.Done()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	defer context.AfterFunc(v.ctx, cancel)()
	res, err := v.fetch(r.WithContext(ctx))
	v.end(key, err)
	return res, err
}

// begin returns an error if it is too early to fetch a document.
func (v *visits) begin(key string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.ctx.Err(); err != nil {
		return err
	}
	p := v.pages[key]
	if wait := p.next.Sub(v.clock()); wait > 0 {
		return &tooEarly{wait, p.err}
	}
	v.current.Add(1)
	return nil
}

// end sets the pause after a fetch.
func (v *visits) end(key string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.pages[key]
	if err == nil {
		p.pause, p.next = 0, v.clock().Add(pause)
	} else {
		p.pause = min(max(2*p.pause, shortest), longest)
		p.next = v.clock().Add(p.pause)
	}
	p.err = err
	if len(v.pages) >= maxPages {
		clear(v.pages) // a provider that names other documents all the time
	}
	v.pages[key] = p
}

// fetch returns a response whose body has arrived as a whole.
func (v *visits) fetch(r *http.Request) (*http.Response, error) {
	if !Secure(r.URL) {
		return nil, fmt.Errorf("%s is not https", r.URL.Redacted())
	}
	res, err := v.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the response is %s", res.Status)
	case len(body) > maxBody:
		return nil, errors.New("the response is too large")
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// Secure reports whether nobody on the way can change what a URL returns: https, or this machine.
func Secure(u *url.URL) bool {
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	return u.Scheme == "https" && host != "" || u.Scheme == "http" && (host == "localhost" || err == nil && addr.IsLoopback())
}
