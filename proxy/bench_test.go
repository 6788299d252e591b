package proxy_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/beevik/etree"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

const audience = 1000

// reader is a client that writes its events, as a front does, to nowhere.
type reader struct{ got *sync.WaitGroup }

func (r reader) Event(m *uacsta.Message) {
	_ = m.Bytes()
	if m.Kind() == uacsta.Event {
		r.got.Done()
	}
}

func (reader) Closed(error) {}

func delivered(ref string) *uacsta.Message {
	return uacsta.Encode(uacsta.DeliveredEvent{
		MonitorCrossRefID: ref, Connection: uacsta.Conn("4711", "100"), AlertingDevice: uacsta.Ext("100"), CallingDevice: uacsta.Ext("101"), CalledDevice: uacsta.Ext("100"),
		LocalConnectionInfo: uacsta.Alerting, Cause: uacsta.CauseNewCall,
	}, uacsta.Edition3)
}

// running starts a proxy with one link.
func running(b *testing.B) (*flaky, *proxy.Proxy) {
	b.Helper()
	f := &flaky{lose: make(chan error)}
	p := proxy.New(proxy.Config{Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: func(string) bool { return true }}})
	p.AddLink("flaky", f, func(string) bool { return true })
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	b.Cleanup(func() { cancel(); <-done })
	if err := p.Await(ctx, "flaky"); err != nil {
		b.Fatal(err)
	}
	return f, p
}

// One event of the switch reaches a thousand clients, each in its own form.
func BenchmarkFanOut(b *testing.B) {
	f, p := running(b)
	var got sync.WaitGroup
	for n := range audience {
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: fmt.Sprint(n)}}, reader{&got})
		if err != nil {
			b.Fatal(err)
		}
		started := make(chan struct{})
		s.Request(uacsta.Encode(monitorOf("100"), uacsta.Edition3), func(*uacsta.Message) { close(started) })
		<-started
	}
	for b.Loop() {
		got.Add(audience)
		f.up.Event(delivered("link1"))
		got.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/audience, "ns/client")
}

// Events of eight links at a time, each with its share of two thousand monitors of one client each.
// `go test ./proxy -run - -bench Links -mutexprofile mutex.out` shows what they wait for.
func BenchmarkLinks(b *testing.B) {
	const links, monitors = 8, 2000
	p := proxy.New(proxy.Config{Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: func(string) bool { return true }}})
	var all [links]*flaky
	for n := range all {
		all[n] = &flaky{lose: make(chan error)}
		p.AddLink(fmt.Sprint(n), all[n], func(device string) bool { return device[0] == byte('1'+n) })
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	var got sync.WaitGroup
	for n := range monitors {
		if err := p.Await(ctx, fmt.Sprint(n%links)); err != nil {
			b.Fatal(err)
		}
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: fmt.Sprint(n)}}, reader{&got})
		if err != nil {
			b.Fatal(err)
		}
		started := make(chan struct{})
		s.Request(uacsta.Encode(monitorOf(fmt.Sprintf("%d%04d", 1+n%links, n)), uacsta.Edition3), func(*uacsta.Message) { close(started) })
		<-started
	}
	for b.Loop() {
		got.Add(monitors)
		var telling sync.WaitGroup
		for _, f := range all {
			telling.Go(func() {
				for n := range monitors / links {
					f.up.Event(delivered(fmt.Sprint("link", 1+n)))
				}
			})
		}
		telling.Wait()
		got.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/monitors, "ns/event")
}

// One event of a device with very many calls.
func BenchmarkOpenCalls(b *testing.B) {
	f, p := running(b)
	var got sync.WaitGroup
	s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, reader{&got})
	if err != nil {
		b.Fatal(err)
	}
	started := make(chan struct{})
	s.Request(uacsta.Encode(monitorOf("100"), uacsta.Edition3), func(*uacsta.Message) { close(started) })
	<-started
	event := func(call int) {
		got.Add(1)
		f.up.Event(uacsta.Encode(uacsta.EstablishedEvent{
			MonitorCrossRefID: "link1", EstablishedConnection: uacsta.Conn(fmt.Sprint(call), "100"), AnsweringDevice: uacsta.Ext("100"), CallingDevice: uacsta.Ext("101"), CalledDevice: uacsta.Ext("100"),
		}, uacsta.Edition3))
		got.Wait()
	}
	for call := range openCalls {
		event(call)
	}
	b.ResetTimer()
	for n := range b.N {
		event(n % openCalls)
	}
}

const openCalls = 33000

// The cost with etree alone: a thousand times, the document is copied, given another cross reference,
// and written.
func BenchmarkFanOutEtree(b *testing.B) {
	wire := delivered("link1").Bytes()
	for b.Loop() {
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(wire); err != nil {
			b.Fatal(err)
		}
		for n := range audience {
			copied := doc.Copy()
			copied.Root().SelectElement("monitorCrossRefID").SetText(fmt.Sprint(n))
			if _, err := copied.WriteToBytes(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/audience, "ns/client")
}
