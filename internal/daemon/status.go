package daemon

import (
	"time"

	"github.com/tr87proxy/tr87proxy/api"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/softswitch/phones"
)

// Status is the state of a running proxy.
type Status struct {
	Version  string         `json:"version"`
	Started  time.Time      `json:"started"`
	Servers  []ServerStatus `json:"servers"`
	Reload   ReloadStatus   `json:"reload"`
	Core     proxy.Status   `json:"core"`
	Audit    *AuditStatus   `json:"audit,omitempty"`
	Phones   *phones.Status `json:"phones,omitempty"`
	Webhooks *WebhookCounts `json:"webhooks,omitempty"` // nil: there are none
	Locks    int            `json:"locks"`              // names locked after wrong passwords
	// Applications are those to which the proxy connects (api.connect).
	Applications []api.Application     `json:"applications,omitempty"`
	Sessions     []proxy.SessionStatus `json:"sessions,omitempty"`
	Devices      []proxy.DeviceStatus  `json:"devices,omitempty"`
}

func (n *Node) status(sessions, devices bool) any {
	st := Status{Version: n.version, Started: n.started, Core: n.core.Status(), Locks: len(n.locks()), Audit: n.auditStatus(), Servers: n.Servers(), Reload: n.history.status(), Webhooks: n.webhookCounts()}
	for _, f := range n.fronts {
		if f, ok := f.(interface{ Applications() []api.Application }); ok {
			st.Applications = f.Applications()
		}
	}
	if n.phones != nil {
		st.Phones = n.phones.Status(devices)
	}
	if sessions {
		st.Sessions = n.core.SessionList()
	}
	if devices {
		st.Devices = n.core.DeviceList()
	}
	return st
}

// Servers returns the state of each listener.
func (n *Node) Servers() []ServerStatus {
	n.serversMu.Lock()
	defer n.serversMu.Unlock()
	list := make([]ServerStatus, 0, len(n.servers))
	for _, s := range n.servers {
		list = append(list, s.status())
	}
	return list
}
