package daemon

import (
	"context"
	"errors"
	"fmt"
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
	Why       string `json:"why,omitempty"` // it is disabled
	NoRoom    bool   `json:"noRoom"`
}

// WebhookCounts sums webhooks up.
type WebhookCounts struct {
	All      int `json:"all"`
	Disabled int `json:"disabled"`
	Failing  int `json:"failing"` // their last attempt failed
	NoRoom   int `json:"noRoom"`  // no room to record what they want
	Letters  int `json:"letters"` // dead letters of all
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
		list = append(list, Webhook{
			Name: h.Name, Owner: h.Owner, Receiver: h.Receiver(), Delivered: h.Delivered, Failed: h.Failed, Dead: h.Dead, Lost: h.Lost, Letters: h.Letters, Waiting: h.Waiting,
			Failure: h.Failure, Disabled: h.Disabled, Why: h.Why, NoRoom: h.NoRoom,
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
// about one of them; enable; remove. owner is needed for the webhooks of clients.
func (n *Node) webhook(ctx context.Context, do, name string, owner *string, letter string) (any, error) {
	s := n.sender()
	of, err := ownerOf(s.All(), name, owner)
	if err != nil {
		return nil, err
	}
	log := n.log.With("hook", name, "owner", of)
	switch do {
	case "dead":
		return s.Dead(of, name, true)
	case "replay":
		if err = s.Replay(ctx, of, name, letter); err == nil {
			log.Info("dead letter of a webhook delivered", "event", letter)
		}
	case "drop":
		if err = s.Drop(of, name, letter); err == nil {
			log.Info("dead letter of a webhook dropped", "event", letter)
		}
	case "enable":
		if err = s.Enable(of, name, nil); err == nil {
			log.Info("webhook enabled")
		}
	case "remove":
		if err = n.removeWebhook(of, name); err == nil {
			log.Info("webhook removed")
		}
	default:
		err = fmt.Errorf("webhooks cannot %q", do)
	}
	if letter != "" && errors.Is(err, webhook.ErrNone) {
		err = fmt.Errorf("webhook %s has no dead letter %s; tr87proxy webhooks dead lists them", name, letter)
	}
	return struct{}{}, err
}

// removeWebhook removes a webhook of a client.
func (n *Node) removeWebhook(owner, name string) error {
	if owner == "" {
		return fmt.Errorf("%s is in the configuration: remove it from api.webhooks, and restart the proxy", name)
	}
	for _, f := range n.fronts {
		if f, ok := f.(interface {
			RemoveWebhook(owner, name string) error
		}); ok {
			return f.RemoveWebhook(owner, name)
		}
	}
	return webhook.ErrNone
}

// ownerOf returns the owner of the webhook with a name: the configuration, unless owner says whose it is. A client can give
// its webhook the name of one that a script of the administrator is about.
func ownerOf(list []webhook.Status, name string, owner *string) (string, error) {
	var owners []string
	for _, h := range list {
		switch {
		case h.Name != name:
		case owner == nil && h.Owner == "", owner != nil && *owner == h.Owner:
			return h.Owner, nil
		case h.Owner != "":
			owners = append(owners, h.Owner)
		}
	}
	if owner == nil && len(owners) > 0 {
		return "", fmt.Errorf("the configuration has no webhook %s; to mean that of a client, name its owner with --owner: %s", name, strings.Join(owners, ", "))
	}
	return "", fmt.Errorf("there is no such webhook: %s; tr87proxy webhooks list shows them", name)
}
