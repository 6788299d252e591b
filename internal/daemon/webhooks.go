package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/webhook"
)

// Webhook is how a webhook of the configuration or of a client is doing, without what may be secret.
type Webhook struct {
	Name      string `json:"name"`
	Owner     string `json:"owner"`    // the identity that added it; "": the configuration
	Receiver  string `json:"receiver"` // the URL without path and query, which can have a secret
	Delivered int64  `json:"delivered"`
	Failed    int64  `json:"failed"`  // attempts
	Dead      int64  `json:"dead"`    // events that became dead letters since the start
	Lost      int64  `json:"lost"`    // events that left the event log, or the dead letters, before they were delivered
	Letters   int    `json:"letters"` // dead letters, now
	Waiting   int64  `json:"waiting"` // events, now
	Failure   string `json:"failure,omitempty"`
	Disabled  bool   `json:"disabled"`
	NoRoom    bool   `json:"noRoom"`
}

// WebhookCounts sums webhooks up.
type WebhookCounts struct {
	All      int `json:"all"`
	Disabled int `json:"disabled"` // by 410 Gone
	Failing  int `json:"failing"`  // their last attempt failed
	NoRoom   int `json:"noRoom"`   // no room to record what they want
	Letters  int `json:"letters"`  // dead letters of all
}

// sender returns what delivers to webhooks, once the fronts have started.
func (n *Node) sender() *webhook.Sender {
	for _, f := range n.fronts {
		if f, ok := f.(interface{ Sender() *webhook.Sender }); ok {
			return f.Sender()
		}
	}
	return nil
}

// webhooks lists all webhooks, in order of owners and names.
func (n *Node) webhooks() []Webhook {
	all := n.sender().All()
	list := make([]Webhook, 0, len(all))
	for _, h := range all {
		receiver := ""
		if u, err := url.Parse(h.URL); err == nil {
			receiver = u.Scheme + "://" + u.Host
		}
		list = append(list, Webhook{
			Name: h.Name, Owner: h.Owner, Receiver: receiver, Delivered: h.Delivered, Failed: h.Failed, Dead: h.Dead, Lost: h.Lost, Letters: h.Letters, Waiting: h.Waiting,
			Failure: h.Failure, Disabled: h.Disabled, NoRoom: h.NoRoom,
		})
	}
	return list
}

// webhookCounts returns nil if there are no webhooks.
func (n *Node) webhookCounts() *WebhookCounts {
	list := n.sender().All()
	if len(list) == 0 {
		return nil
	}
	c := &WebhookCounts{All: len(list)}
	for _, h := range list {
		c.Letters += h.Letters
		switch {
		case h.Disabled:
			c.Disabled++
		case h.Failure != "":
			c.Failing++
		}
		if h.NoRoom {
			c.NoRoom++
		}
	}
	return c
}

// webhook does what an administrator asks of the webhook with this name: dead lists its dead letters; replay and drop are
// about one of them; enable. owner is needed only if several owners have a webhook of this name.
func (n *Node) webhook(ctx context.Context, do, name string, owner *string, letter string) (any, error) {
	s := n.sender()
	of, err := ownerOf(s.All(), name, owner)
	if err != nil {
		return nil, err
	}
	log := n.log.With("hook", name, "owner", of)
	switch do {
	case "dead":
		return s.Dead(of, name)
	case "replay":
		if err = s.Replay(ctx, of, name, letter); err == nil {
			log.Info("dead letter of a webhook delivered", "event", letter)
		}
	case "drop":
		if err = s.Drop(of, name, letter); err == nil {
			log.Info("dead letter of a webhook dropped", "event", letter)
		}
	case "enable":
		if err = s.Enable(of, name); err == nil {
			log.Info("webhook enabled")
		}
	default:
		err = fmt.Errorf("webhooks cannot %q", do)
	}
	if errors.Is(err, webhook.ErrNone) {
		err = fmt.Errorf("webhook %s has no dead letter %s; tr87proxy webhooks dead lists them", name, letter)
	}
	return struct{}{}, err
}

// ownerOf returns the owner of the webhook with a name.
func ownerOf(list []webhook.Status, name string, owner *string) (string, error) {
	var owners []string
	for _, h := range list {
		if h.Name == name && (owner == nil || *owner == h.Owner) {
			owners = append(owners, h.Owner)
		}
	}
	switch len(owners) {
	case 0:
		return "", fmt.Errorf("there is no such webhook: %s; tr87proxy webhooks list shows them", name)
	case 1:
		return owners[0], nil
	}
	if slices.Contains(owners, "") { // the first
		owners[0] = `"" (the configuration)`
	}
	return "", fmt.Errorf("several owners have a webhook %s; name one with --owner: %s", name, strings.Join(owners, ", "))
}
