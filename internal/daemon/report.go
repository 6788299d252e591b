package daemon

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy"
)

// ReloadReport says what a reload did, or what it would do if it is a dry run.
type ReloadReport struct {
	DryRun       bool             `json:"dry_run"`
	Changed      []string         `json:"changed"` // keys whose new values are applied
	Restart      []Waiting        `json:"restart"` // keys whose new values need a restart
	Listeners    []ListenerChange `json:"listeners"`
	Links        []LinkChange     `json:"links"`
	Certificates []string         `json:"certificates"` // listeners, and links as "link NAME", with other certificate files; connections stay
	Ended        Ended            `json:"ended"`
	Failures     []string         `json:"failures"` // listeners that could not be opened
}

// ListenerChange says what a reload does to a listener.
type ListenerChange struct {
	Name      string   `json:"name"`
	Protocol  string   `json:"protocol"`
	Transport string   `json:"transport"`
	Address   string   `json:"address"`
	Change    string   `json:"change"`         // opened, closed, reopened, or changed, where its connections stay; not opened, not reopened, where that failed
	Keys      []string `json:"keys,omitempty"` // keys that differ, if it is reopened or changed
}

// notOpened notes that a listener, which was to be opened, could not be.
func (r *ReloadReport) notOpened(name string) {
	for i := range r.Listeners {
		if l := &r.Listeners[i]; l.Name == name && (l.Change == "opened" || l.Change == "reopened") {
			l.Change = "not " + l.Change
		}
	}
}

// LinkChange says what a reload does to a link.
type LinkChange struct {
	Name   string   `json:"name"`
	Change string   `json:"change"`         // opened, closed, reopened, or changed: it stays up
	Keys   []string `json:"keys,omitempty"` // keys that differ, if it is reopened or changed
}

// Ended counts and lists what a reload ends.
type Ended struct {
	Sessions      int            `json:"sessions"`
	Monitors      int            `json:"monitors"`
	Registrations int            `json:"registrations"` // of clients for routeing, and of telephones
	Others        int            `json:"others"`        // application sessions, and services under a reference
	List          []proxy.Ending `json:"list"`          // the first 1000
}

const maxListed = 1000

// telephoneRegistration is the kind of the endings that concern no client.
const telephoneRegistration = "registration of a telephone"

func (e *Ended) add(list []proxy.Ending) {
	for _, ending := range list {
		switch ending.Kind {
		case "session":
			e.Sessions++
		case "monitor":
			e.Monitors++
		case "route registration", telephoneRegistration:
			e.Registrations++
		default:
			e.Others++
		}
		if len(e.List) < maxListed {
			e.List = append(e.List, ending)
		}
	}
}

// empty reports whether the reload changes nothing.
func (r *ReloadReport) empty() bool {
	return len(r.Changed)+len(r.Restart)+len(r.Listeners)+len(r.Links)+len(r.Certificates)+len(r.Failures)+len(r.Ended.List) == 0
}

// String returns the report as text, a line for each fact.
func (r *ReloadReport) String() string {
	if r.empty() {
		return "nothing has changed\n"
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	does := func(did, would string) string {
		if r.DryRun {
			return would
		}
		return did
	}
	for _, key := range r.Changed {
		line("%s: %s", does("changed", "would change"), key)
	}
	for _, l := range r.Listeners {
		line("listener %s %s: %s/%s %s%s", l.Name, does(l.Change, "would be "+l.Change), l.Protocol, l.Transport, l.Address, inParentheses(l.Keys))
	}
	for _, l := range r.Links {
		line("link %s %s%s", l.Name, does(l.Change, "would be "+l.Change), inParentheses(l.Keys))
	}
	for _, of := range r.Certificates {
		line("certificates of %s %s; connections stay", of, does("exchanged", "would be exchanged"))
	}
	for _, w := range r.Restart {
		line("needs a restart: %s (%s)", w.Key, w.Reason)
	}
	if e := &r.Ended; len(e.List) > 0 {
		line("%s: %d sessions, %d monitors, %d registrations, %d others", does("ended", "would end"), e.Sessions, e.Monitors, e.Registrations, e.Others)
		for _, ending := range e.List {
			device := ""
			if ending.Device != "" {
				device = " of " + ending.Device
			}
			line("  %s%s: %s %s: %s", ending.Kind, device, ending.Identity, ending.Peer, ending.Reason)
		}
		if more := e.Sessions + e.Monitors + e.Registrations + e.Others - len(e.List); more > 0 {
			line("  and %d more", more)
		}
	}
	for _, failure := range r.Failures {
		line("failed: %s", failure)
	}
	return b.String()
}

func inParentheses(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return " (" + strings.Join(keys, ", ") + ")"
}

// attributes returns the report as attributes for the log.
func (r *ReloadReport) attributes() []any {
	listeners, links, waits := make([]string, 0, len(r.Listeners)), make([]string, 0, len(r.Links)), make([]string, 0, len(r.Restart))
	for _, l := range r.Listeners {
		listeners = append(listeners, fmt.Sprintf("%s %s/%s %s %s%s", l.Name, l.Protocol, l.Transport, l.Address, l.Change, inParentheses(l.Keys)))
	}
	for _, l := range r.Links {
		links = append(links, l.Name+" "+l.Change+inParentheses(l.Keys))
	}
	for _, w := range r.Restart {
		waits = append(waits, w.Key)
	}
	return []any{
		"changed", strings.Join(r.Changed, " "), "restart", strings.Join(waits, " "), "listeners", strings.Join(listeners, "; "), "links", strings.Join(links, "; "),
		"certificates", strings.Join(r.Certificates, " "),
		slog.Group("ended", "sessions", r.Ended.Sessions, "monitors", r.Ended.Monitors, "registrations", r.Ended.Registrations, "others", r.Ended.Others),
	}
}
