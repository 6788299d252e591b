package daemon

import (
	"runtime/metrics"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/tls"
)

// Overview is how a running proxy is doing, on one page.
type Overview struct {
	Status

	Calls        int             `json:"calls"`    // that have parties now, of all links
	Memory       uint64          `json:"memory"`   // octets that the process holds
	Counters     Counters        `json:"counters"` // since the start
	Locks        []accounts.Lock `json:"locks"`
	Links        []LinkOverview  `json:"links"`
	Certificates []Certificate   `json:"certificates"`
}

// Counters count since the start.
type Counters struct {
	Requests int64 `json:"requests"`
	Events   int64 `json:"events"`
	Calls    int64 `json:"calls"`
	Refusals int64 `json:"refusals"`
}

// LinkOverview is the state of a link, and what the configuration says of it.
type LinkOverview struct {
	proxy.LinkStatus

	Type      string  `json:"type"` // builtin: the built-in switch
	Address   string  `json:"address,omitempty"`
	RoundTrip float64 `json:"roundTrip,omitempty"` // of the last request, in seconds
}

// Certificate is a certificate in use.
type Certificate struct {
	Of    string    `json:"of"` // the listener, or "link NAME"
	File  string    `json:"file"`
	Until time.Time `json:"until"`
}

// overview is how the proxy is doing.
func (n *Node) overview() any {
	st := n.status(false, false).(Status)
	stats := n.core.Stats()
	o := Overview{
		Status: st, Memory: memory(), Locks: n.locks(), Links: make([]LinkOverview, 0, len(st.Core.Links)), Certificates: n.certificatesByName(),
		Counters: Counters{Requests: stats.Requests.Load(), Events: stats.Events.Load(), Refusals: stats.Refusals.Load()},
	}
	for _, l := range st.Core.Links {
		o.Calls += l.Calls
		o.Counters.Calls += l.Began
		link := LinkOverview{LinkStatus: l, Type: "builtin", RoundTrip: l.RoundTrip.Seconds()}
		for _, c := range *n.linkConfigs.Load() {
			if c.Name == l.Name {
				link.Type, link.Address = c.Type, placeOfLink(&c)
			}
		}
		o.Links = append(o.Links, link)
	}
	return o
}

// placeOfLink returns the first address of a link that connects, or that of the first listener of one to which its peer connects.
func placeOfLink(l *config.Link) string {
	switch s := l.Settings.(type) {
	case interface{ Peers() []string }:
		if all := s.Peers(); len(all) > 0 {
			return all[0]
		}
	case interface{ Listeners() []config.Listener }:
		if all := s.Listeners(); len(all) > 0 {
			return all[0].Address
		}
	}
	return ""
}

// memory returns how many octets the process holds.
func memory() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64() - sample[1].Value.Uint64()
}

// certificatesByName returns the certificates of listeners and links.
func (n *Node) certificatesByName() []Certificate {
	list := []Certificate{}
	n.eachCertificate(func(of string, e tls.Expiry) { list = append(list, Certificate{of, e.File, e.At}) })
	return list
}
