package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// proxyRound places calls, first without clients, and returns the figures and the events of each device.
func (s *setting) proxyRound(ctx context.Context, p *server, profile string) (f figures, events []occurrence, err error) {
	before := p.cpu()
	s.place(ctx, p, nil)
	idle := p.cpu() - before
	c, err := s.connect(ctx, p.address)
	if err != nil {
		return f, nil, err
	}
	defer c.close()
	profiled := make(chan error, 1)
	if profile != "" {
		go func() {
			data, err := p.get(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(s.time.Seconds())))
			if err == nil {
				err = os.WriteFile(profile, data, 0o600)
			}
			profiled <- err
		}()
	} else {
		profiled <- nil
	}
	before = p.cpu()
	began := time.Now()
	calls, refused := s.place(ctx, p, c)
	took := time.Since(began)
	if err := c.settle(); err != nil {
		return f, nil, err
	}
	cpu := p.cpu() - before
	if err := <-profiled; err != nil {
		return f, nil, err
	}
	f = c.figures()
	f.calls, f.refused, f.idle, f.cpu, f.took = calls, refused, idle, cpu, took
	for _, one := range c.list {
		events = append(events, one.events...)
	}
	slices.SortStableFunc(events, func(a, b occurrence) int { return a.at.Compare(b.at) })
	return f, events, ctx.Err()
}

// peerRound has the plain program send events at the intervals at which they came, with their times set to now.
func (s *setting) peerRound(ctx context.Context, p *server, events []occurrence) (f figures, err error) {
	c, err := s.connect(ctx, p.address)
	if err != nil {
		return f, err
	}
	defer c.close()
	feed, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.other)
	if err != nil {
		return f, err
	}
	defer feed.Close() //nolint:errcheck // the measurement is over
	before := p.cpu()
	began := time.Now()
	var out []byte
	for _, e := range events {
		wait := e.at.Sub(events[0].at) - time.Since(began)
		if wait > 0 {
			if _, err := feed.Write(out); err != nil {
				return f, err
			}
			out = out[:0]
			time.Sleep(wait)
		}
		out = binary.BigEndian.AppendUint16(out, uint16(len(e.device)))
		out = binary.BigEndian.AppendUint32(out, uint32(len(e.data)))
		out = append(out, e.device...)
		start := len(out)
		out = append(out, e.data...)
		if i := bytes.Index(out[start:], timeKey); i >= 0 {
			copy(out[start+i+len(timeKey):], time.Now().UTC().Format(layout))
		}
	}
	if _, err := feed.Write(out); err != nil {
		return f, err
	}
	if err := c.settle(); err != nil {
		return f, err
	}
	cpu := p.cpu() - before
	f = c.figures()
	f.cpu, f.took = cpu, time.Since(began)
	return f, nil
}

// place places and clears calls for a while, at the wanted rate or as many as get through, and returns how many there
// were. Each pair of telephones has one call at a time.
func (s *setting) place(ctx context.Context, p *server, c *clients) (calls, refused int) {
	ctx, cancel := context.WithTimeout(ctx, s.time)
	defer cancel()
	pairs := s.devices / 2
	interval := time.Duration(pairs) * time.Second / time.Duration(s.rate)
	transport := &http.Transport{MaxIdleConnsPerHost: pairs}
	defer transport.CloseIdleConnections()
	var done, failed atomic.Int64
	var group sync.WaitGroup
	for pair := range pairs {
		group.Go(func() {
			next := time.NewTimer(interval * time.Duration(pair) / time.Duration(pairs))
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for {
				select {
				case <-next.C:
					tick.Reset(interval)
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				if c != nil {
					c.placed[pair].Store(time.Now().UnixNano())
				}
				if s.call(transport, p.address, pair, min(interval/2, 100*time.Millisecond)) == nil {
					done.Add(1)
				} else {
					failed.Add(1)
				}
			}
		})
	}
	group.Wait()
	return int(done.Load()), int(failed.Load())
}

// call places a call and clears it a while later.
func (s *setting) call(transport *http.Transport, address string, pair int, hold time.Duration) error {
	calls := fmt.Sprintf("http://%s/v1/devices/%s/calls", address, caller(pair))
	answer, err := post(transport, calls, fmt.Sprintf(`{"to":%q}`, callee(pair)), http.StatusCreated)
	if err != nil {
		return err
	}
	var placed struct {
		Call string `json:"call"`
	}
	if err := json.Unmarshal(answer, &placed); err != nil {
		return err
	}
	time.Sleep(hold)
	_, err = post(transport, calls+"/"+placed.Call+"/clear", "{}", http.StatusOK)
	return err
}

// post sends a request, and returns the body of the response.
func post(transport *http.Transport, url, body string, want int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != want {
		err = fmt.Errorf("%s: %s", res.Status, data)
	}
	return data, err
}
