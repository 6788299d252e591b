// Package operations serves health, metrics and the admin socket.
package operations

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/webhook"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tls"
)

// Operations serves the operators' port: /metrics, /healthz, /readyz and, with Pprof,
// /debug/pprof. It has no authentication and belongs on loopback.
type Operations struct {
	Proxy *proxy.Proxy
	UA    *sip.UA
	// Strangers limits the memory of connections that are neither trusted nor authenticated.
	Strangers *gate.Strangers
	Pprof     bool
	Ready     func() bool // reports whether the proxy serves clients; false before start and during shutdown
	// Certificates returns when certificates expire.
	Certificates func() []tls.Expiry
	// Telephones returns the numbers of reachable extensions and of legs; nil if there are no telephones.
	Telephones func() (reachable, legs int)
	// TelephonesUA is the user agent of telephones; nil if there are none.
	TelephonesUA *sip.UA
	Guards       func() []*accounts.Guard // guards against guessing passwords
	Audit        *audit.Log               // nil: no audit file
	Tally        *audit.Tally             // nil: no audit file of strangers
	Reloads      func() Reloads
	HomerLost    func() uint64           // messages not sent to Homer; nil: none are
	TraceLost    func() uint64           // records not written to the file of the trace; nil: none are
	Events       *eventlog.Log           // nil: no event log
	Webhooks     func() []webhook.Status // nil: no webhooks
}

// Reloads has the results of reloads of the configuration.
type Reloads struct {
	Loaded   time.Time // when the current configuration was read
	Failing  bool      // whether the last reload failed
	Failures int       // failed reloads since the start
}

// Run serves a listener until ctx ends.
func (o *Operations) Run(ctx context.Context, l net.Listener) error { return run(ctx, l, o.handler()) }

func run(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, MaxHeaderBytes: 16 << 10, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute}
	var group sync.WaitGroup
	group.Go(func() {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(stop)
	})
	err := server.Serve(l)
	group.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (o *Operations) handler() http.Handler {
	mux := http.NewServeMux()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	o.register(registry)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		for _, link := range o.Proxy.Status().Links {
			if !link.Up {
				http.Error(w, "link "+link.Name+" is down", http.StatusServiceUnavailable)
				return
			}
		}
		if err := o.Audit.Failing(); err != nil { // a failing strangers' file does not stop anything
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		if !o.Ready() {
			http.Error(w, "not serving", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	if o.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (o *Operations) register(r *prometheus.Registry) {
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "tr87proxy", Name: name, Help: help}, value))
	}
	flag := func(name, help string, holds func() bool) {
		gauge(name, help, func() float64 { return float64(oneIf(holds())) })
	}
	counter := func(name, help string, value *atomic.Int64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "tr87proxy", Name: name, Help: help}, func() float64 { return float64(value.Load()) }))
	}
	gauge("sessions", "Client sessions open.", func() float64 { return float64(o.Proxy.Status().Sessions) })
	gauge("link_monitors", "Monitors held at the links, or waiting for a link to reconnect.", func() float64 { return float64(o.Proxy.Status().Monitors) })
	gauge("unproved_connections", "Connections of CSTA in XML and ASN.1 that are neither trusted nor logged in.", func() float64 { n, _ := o.Strangers.Counts(); return float64(n) })
	gauge("unproved_octets", "Memory charged to connections that are neither trusted nor logged in, in octets.", func() float64 { _, n := o.Strangers.Counts(); return float64(n) })
	flag("config_last_reload_successful", "1 when the last reload of the configuration succeeded, or there was none; 0 when it failed.", func() bool { return !o.Reloads().Failing })
	gauge("config_last_reload_success_timestamp_seconds", "When the configuration was last read without failure, in seconds since 1970.", func() float64 { return float64(o.Reloads().Loaded.UnixMilli()) / 1000 })
	if o.TraceLost != nil {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tr87proxy_trace_file_lost_total", Help: "Records that were not written to the file of the trace."}, func() float64 { return float64(o.TraceLost()) }))
	}
	if o.HomerLost != nil {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tr87proxy_homer_lost_total", Help: "Messages that were not sent to Homer."}, func() float64 { return float64(o.HomerLost()) }))
	}
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "tr87proxy", Name: "config_reload_failures_total", Help: "Reloads of the configuration that failed."}, func() float64 { return float64(o.Reloads().Failures) }))
	stack := func(prefix string, ua *sip.UA) {
		wire := ua.Stats()
		gauge(prefix+"dialogs", "SIP dialogs open.", func() float64 { n, _, _ := ua.Counts(); return float64(n) })
		gauge(prefix+"connections", "TCP and TLS connections open.", func() float64 { _, n, _ := ua.Counts(); return float64(n) })
		gauge(prefix+"transactions", "SIP transactions kept.", func() float64 { _, _, n := ua.Counts(); return float64(n) })
		counter(prefix+"requests_total", "SIP requests received.", &wire.Requests)
		counter(prefix+"retransmissions_total", "SIP requests received again.", &wire.Retransmissions)
		counter(prefix+"malformed_total", "SIP messages that could not be read.", &wire.Malformed)
		counter(prefix+"refused_total", "SIP requests refused by a limit.", &wire.Refused)
		counter(prefix+"unanswered_total", "SIP requests sent that got no response.", &wire.Unanswered)
		counter(prefix+"withheld_total", "SIP responses not sent because they were larger than an unproved address may get.", &wire.Withheld)
		counter(prefix+"dropped_total", "UDP datagrams dropped unread because strangers, or all peers together, sent too many.", &wire.Dropped)
		counter(prefix+"transactions_evicted_total", "SIP transactions dropped to make room for others.", &wire.EvictedTransactions)
		counter(prefix+"connections_evicted_total", "SIP connections closed to make room for others.", &wire.EvictedConnections)
		counter(prefix+"connections_paced_total", "SIP connections rejected because their peer opened too many a second.", &wire.Paced)
		counter(prefix+"dialogs_evicted_total", "SIP dialogs of strangers closed to make room for others.", &wire.EvictedDialogs)
		counter(prefix+"stray_responses_total", "SIP responses that match no request sent to their sender.", &wire.Stray)
	}
	stack("sip_", o.UA)
	if o.TelephonesUA != nil {
		stack("telephones_sip_", o.TelephonesUA)
	}
	gauge("application_sessions", "ECMA-354 application sessions open.", func() float64 { return float64(o.Proxy.Status().Applications) })
	if o.Telephones != nil {
		gauge("telephones_reachable", "Extensions with a reachable telephone.", func() float64 { n, _ := o.Telephones(); return float64(n) })
		gauge("telephone_legs", "Telephones in calls.", func() float64 { _, n := o.Telephones(); return float64(n) })
	}
	if o.Audit != nil {
		flag("audit_failing", "1 while the audit file cannot be written, and control requests are refused.", func() bool { return o.Audit.Failing() != nil })
		flag("audit_strangers_failing", "1 while the audit file of strangers cannot be written; nothing is refused for that.", func() bool { return o.Tally.Failing() != nil })
		count := func(name, help string, value func() int64) {
			r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "tr87proxy", Name: name, Help: help}, func() float64 { return float64(value()) }))
		}
		count("audit_lines_total", "Lines of the audit file written.", func() int64 { n, _ := o.Audit.Counts(); return n })
		count("audit_refused_total", "Entries of the audit file that could not be written.", func() int64 { _, n := o.Audit.Counts(); return n })
		count("audit_strangers_total", "Entries about strangers, written or counted.", o.Tally.Counted)
	}
	r.MustRegister(links{o.Proxy}, guards{o.Guards})
	if o.Certificates != nil {
		r.MustRegister(certificates{o.Certificates})
	}
	if o.Events != nil {
		gauge("event_log_entries", "Events in the event log.", func() float64 { return float64(o.Events.Status().Entries) })
		gauge("event_log_octets", "Size of the events in the event log, in octets.", func() float64 { return float64(o.Events.Status().Octets) })
		flag("event_log_failing", "1 while the event log cannot be written, and events are kept in memory.", func() bool { return o.Events.Status().Failing })
		total := func(name, help string, value func(eventlog.Status) uint64) {
			r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "tr87proxy", Name: name, Help: help}, func() float64 { return float64(value(o.Events.Status())) }))
		}
		total("event_log_dropped_total", "Events dropped because the event log did not keep up.", func(s eventlog.Status) uint64 { return s.Dropped })
		total("event_log_lost_total", "Events that are not in the file of the event log, because it could not be written in time.", func(s eventlog.Status) uint64 { return s.Lost })
	}
	if o.Webhooks != nil {
		r.MustRegister(webhooks{o.Webhooks})
	}
	core := o.Proxy.Stats()
	counter("sessions_total", "Client sessions opened.", &core.Sessions)
	counter("requests_total", "CSTA requests of clients.", &core.Requests)
	counter("refusals_total", "CSTA requests that got an error response.", &core.Refusals)
	counter("denials_total", "Sessions and requests that policy denied.", &core.Denials)
	counter("turns_refused_total", "CSTA requests refused because their switching function was busy with others.", &core.TurnsRefused)
	counter("events_total", "CSTA events sent to clients.", &core.Events)
	counter("overflows_total", "Sessions closed because the client did not read fast enough.", &core.Overflows)
	counter("connections_refused_total", "Connections of CSTA in XML and ASN.1 that were rejected.", &o.Strangers.Refused)
	counter("connections_evicted_total", "Connections closed to make room for others.", &o.Strangers.Evicted)
	counter("connections_struck_total", "Connections closed because their peer sent too much invalid data.", &o.Strangers.Struck)
}

// links collects the metrics of links, which a reload may change.
type links struct{ proxy *proxy.Proxy }

var (
	linkUp      = prometheus.NewDesc("tr87proxy_link_up", "1 when the link is up.", []string{"link"}, nil)
	linkDevices = prometheus.NewDesc("tr87proxy_link_devices_monitored", "Monitors held at the link, or waiting for it to reconnect.", []string{"link"}, nil)
)

// Describe implements prometheus.Collector.
func (l links) Describe(descs chan<- *prometheus.Desc) {
	descs <- linkUp
	descs <- linkDevices
}

// Collect implements prometheus.Collector.
func (l links) Collect(metrics chan<- prometheus.Metric) {
	for _, link := range l.proxy.Status().Links {
		metrics <- prometheus.MustNewConstMetric(linkUp, prometheus.GaugeValue, float64(oneIf(link.Up)), link.Name)
		metrics <- prometheus.MustNewConstMetric(linkDevices, prometheus.GaugeValue, float64(link.Monitors), link.Name)
	}
}

// guards collects the metrics of guards: locks and wrong passwords.
type guards struct{ list func() []*accounts.Guard }

var (
	guardLocks = prometheus.NewDesc("tr87proxy_locks", "Names locked at an address after wrong passwords.", []string{"of"}, nil)
	guardWrong = prometheus.NewDesc("tr87proxy_wrong_passwords_total", "Wrong passwords.", []string{"of"}, nil)
)

// Describe implements prometheus.Collector.
func (g guards) Describe(descs chan<- *prometheus.Desc) {
	descs <- guardLocks
	descs <- guardWrong
}

// Collect implements prometheus.Collector.
func (g guards) Collect(metrics chan<- prometheus.Metric) {
	for _, guard := range g.list() {
		metrics <- prometheus.MustNewConstMetric(guardLocks, prometheus.GaugeValue, float64(len(guard.Locks())), guard.Of())
		metrics <- prometheus.MustNewConstMetric(guardWrong, prometheus.CounterValue, float64(guard.Wrong()), guard.Of())
	}
}

// certificates collects the metrics of certificates in use.
type certificates struct{ list func() []tls.Expiry }

var certificateEnd = prometheus.NewDesc("tr87proxy_certificate_not_after_seconds", "When a certificate expires, in seconds since 1970.", []string{"file"}, nil)

// Describe implements prometheus.Collector.
func (c certificates) Describe(descs chan<- *prometheus.Desc) { descs <- certificateEnd }

// Collect implements prometheus.Collector.
func (c certificates) Collect(metrics chan<- prometheus.Metric) {
	seen := map[string]bool{}
	for _, e := range c.list() {
		if !seen[e.File] {
			seen[e.File] = true
			metrics <- prometheus.MustNewConstMetric(certificateEnd, prometheus.GaugeValue, float64(e.At.Unix()), e.File)
		}
	}
}
