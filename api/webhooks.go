package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/webhook"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// webhooks delivers events to URLs, and has the recorder record what they want.
type webhooks struct {
	*webhook.Sender

	events *events
	ctx    context.Context //nolint:containedctx // ends with close
	halt   context.CancelFunc

	group sync.WaitGroup // the sender, and wantAll

	mu    sync.Mutex           // held while hooks are added
	wants map[[2]string]func() // by owner and name: what releases the devices of a hook
}

// checkHooks reports faults in the key webhooks.
func checkHooks(hooks []webhook.Hook, s *config.Section) {
	for i := range hooks {
		hooks[i].Check(func(key, text string) { s.Fault(fmt.Sprintf("webhooks[%d].%s", i, key), text) })
		if kind := unknownType(hooks[i].Types); kind != "" {
			s.Fault(fmt.Sprintf("webhooks[%d].types", i), noType(kind))
		}
		if slices.ContainsFunc(hooks[:i], func(h webhook.Hook) bool { return h.Name == hooks[i].Name }) {
			s.Fault(fmt.Sprintf("webhooks[%d].name", i), "is there twice")
		}
	}
}

func noType(kind string) string {
	return fmt.Sprintf("has %.64q, which is no type of event; write for example delivered, established or connectionCleared", kind)
}

// newWebhooks returns the sender of webhooks: those of the configuration, and those that were added before.
func newWebhooks(hooks []webhook.Hook, e *events, s *Server) (*webhooks, error) {
	mayObserve := func(owner string, entry eventlog.Entry) bool {
		return entry.Device == "" || s.proxy.MayObserve(policy.Identity{Name: owner}, name, entry.Device)
	}
	sender, err := webhook.New(e.kept, webhook.Rights{Observe: mayObserve, Holds: s.holds}, e.log)
	if err != nil {
		return nil, err
	}
	if err := sender.Set(hooks); err != nil {
		return nil, err
	}
	w := &webhooks{Sender: sender, events: e, wants: map[[2]string]func(){}}
	w.ctx, w.halt = context.WithCancel(e.ctx)
	w.group.Go(func() { sender.Run(w.ctx) })
	w.group.Go(func() { w.wantAll(sender.All()) })
	return w, nil
}

// close ends the sender.
func (w *webhooks) close() {
	w.halt()
	w.group.Wait()
}

// wantAll has the recorder record the devices of webhooks. It tries again as long as there is no room.
func (w *webhooks) wantAll(list []webhook.Status) {
	defer share.Survive(w.events.log, "the devices of webhooks", nil)
	for first := true; len(list) > 0 && w.ctx.Err() == nil; first = false {
		list = slices.DeleteFunc(list, func(h webhook.Status) bool {
			release, err := w.want(w.ctx, &h.Hook)
			switch {
			case err == nil:
				w.mu.Lock()
				defer w.mu.Unlock()
				w.keep(&h.Hook, release)
				w.NoRoom(h.Owner, h.Name, false)
			case errors.Is(err, record.ErrFull):
				if first {
					w.events.log.Error("could not record the events of a webhook", "hook", h.Name, "owner", h.Owner, "err", err)
					w.NoRoom(h.Owner, h.Name, true)
				}
				return !w.Has(h.Owner, h.Name)
			}
			return true
		})
		if len(list) > 0 {
			gate.Sleep(w.ctx, roomAgain)
		}
	}
}

// roomAgain is how often webhooks without room try to get it.
const roomAgain = 30 * time.Second

// want has the recorder record the devices of a hook until release is called. The errors are those of [record.Recorder.Want].
func (w *webhooks) want(ctx context.Context, h *webhook.Hook) (release func(), err error) {
	var devices, patterns []string
	for _, d := range h.Devices {
		if isPattern(d) {
			patterns = append(patterns, d)
		} else {
			devices = append(devices, d)
		}
	}
	if len(h.Devices) == 0 {
		patterns = []string{"*"}
	}
	return w.events.recorder.Want(ctx, h.Owner, devices, patterns)
}

// keep keeps what releases the devices of a hook, unless it has been removed meanwhile, or added anew. Callers hold mu.
func (w *webhooks) keep(h *webhook.Hook, release func()) {
	key := [2]string{h.Owner, h.Name}
	if w.wants[key] != nil || !w.Has(h.Owner, h.Name) {
		release()
		return
	}
	w.wants[key] = release
}

// add adds a hook of a client, if there is room for the events of its devices.
func (w *webhooks) add(ctx context.Context, h webhook.Hook) (webhook.Hook, error) {
	if err := h.Usable(); err != nil {
		return webhook.Hook{}, err
	}
	release, err := w.want(ctx, &h)
	if err != nil {
		return webhook.Hook{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	made, err := w.Add(h)
	if err != nil {
		release()
		return webhook.Hook{}, err
	}
	key := [2]string{made.Owner, made.Name}
	if before := w.wants[key]; before != nil { // of one of this name that is being removed
		before()
	}
	w.wants[key] = release
	return made, nil
}

// remove removes a hook of a client, and releases its devices. It waits for what is under way, without mu.
func (w *webhooks) remove(owner, hook string) error {
	err := w.Remove(owner, hook)
	w.mu.Lock()
	defer w.mu.Unlock()
	key := [2]string{owner, hook}
	if release := w.wants[key]; release != nil && !w.Has(owner, hook) {
		release()
		delete(w.wants, key)
	}
	return err
}

// Webhook is a URL that gets events.
type Webhook struct {
	Name        string            `json:"name" pattern:"^[a-zA-Z0-9][a-zA-Z0-9._-]*$" maxLength:"64" example:"crm"`
	URL         string            `json:"url" format:"uri" maxLength:"2048" example:"https://crm.contoso.com/calls" doc:"shown without its password; to a client that may only observe, without path and query"`
	Devices     []string          `json:"devices,omitempty" maxItems:"256" doc:"numbers and patterns; none: all that you may observe"`
	Types       []string          `json:"types,omitempty" maxItems:"128" doc:"types of events; none: all"`
	Format      string            `json:"format,omitempty" enum:"cloudevents,zammad,template" doc:"of the body; cloudevents by default"`
	Template    string            `json:"template,omitempty" maxLength:"16384" doc:"a Go text/template over the event, for the format template"`
	ContentType string            `json:"contentType,omitempty" maxLength:"128"`
	Users       map[string]string `json:"users,omitempty" doc:"the names by which Zammad knows the users of devices"`
	Secrets     []string          `json:"secrets,omitempty" maxItems:"4" doc:"whsec_ and base64: they sign the requests. Without any, the proxy makes one. The response to this request is the only one that has them"`
}

// WebhookStatus is a webhook, and how it is doing.
type WebhookStatus struct {
	Webhook

	Delivered int64  `json:"delivered" doc:"events, since the proxy started"`
	Failed    int64  `json:"failed" doc:"attempts"`
	Dead      int64  `json:"dead" doc:"events that became dead letters, since the proxy started"`
	Letters   int    `json:"letters" doc:"dead letters, now"`
	Waiting   int64  `json:"waiting" doc:"events, now"`
	Failure   string `json:"failure,omitempty" doc:"why the last attempt failed"`
	Disabled  bool   `json:"disabled" doc:"it delivers nothing until it is enabled"`
	Why       string `json:"why,omitempty" doc:"it is disabled: its receiver has said 410 Gone, or the token, account or address with which it was added does not hold any more"`
	NoRoom    bool   `json:"noRoom" doc:"the webhook gets no events: the proxy records those of as many devices as it can, and tries again"`
}

// WebhookList is the webhooks of a client.
type WebhookList struct {
	Webhooks []WebhookStatus `json:"webhooks"`
}

// DeadLetters is the events that a webhook has not delivered.
type DeadLetters struct {
	Letters []webhook.Letter `json:"letters"`
}

type hookPath struct {
	Name string `path:"name" maxLength:"64"`
}

type letterPath struct {
	Name   string `path:"name" maxLength:"64"`
	Letter string `path:"letter" doc:"the id of the event" maxLength:"64"`
}

// createdWebhook is the response to a request that adds a webhook.
type createdWebhook struct {
	Location string `header:"Location"`
	Cache    string `header:"Cache-Control"`
	Body     Webhook
}

func (s *Server) describeWebhooks() {
	op := func(id, method, path, summary string, status int) huma.Operation {
		return bounded(huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{"webhooks"}, DefaultStatus: status})
	}
	huma.Register(s.api, op("listWebhooks", http.MethodGet, "/v1/webhooks", "List your webhooks", http.StatusOK), s.listWebhooks)
	add := op("addWebhook", http.MethodPost, "/v1/webhooks", "Add a webhook", http.StatusCreated)
	add.SkipValidateBody = false
	huma.Register(s.api, add, s.addWebhook)
	huma.Register(s.api, op("getWebhook", http.MethodGet, "/v1/webhooks/{name}", "See how a webhook is doing", http.StatusOK), s.getWebhook)
	huma.Register(s.api, op("removeWebhook", http.MethodDelete, "/v1/webhooks/{name}", "Remove a webhook with its dead letters", http.StatusNoContent),
		managing(s, func(_ context.Context, owner string, in *hookPath) error {
			return s.webhooks.remove(owner, in.Name)
		}))
	huma.Register(s.api, op("enableWebhook", http.MethodPost, "/v1/webhooks/{name}/enable", "Let a webhook go on, from now on with the credentials of this request", http.StatusNoContent),
		managing(s, func(ctx context.Context, owner string, in *hookPath) error {
			return s.webhooks.Enable(owner, in.Name, s.auth.standing(&clientOf(ctx).who))
		}))
	huma.Register(s.api, op("listDeadLetters", http.MethodGet, "/v1/webhooks/{name}/dead", "List the events that were not delivered", http.StatusOK),
		func(ctx context.Context, in *hookPath) (*body[DeadLetters], error) {
			letters, err := s.webhooks.Dead(clientOf(ctx).session.Identity().Name, in.Name, false)
			if err != nil {
				return nil, ofHook(err)
			}
			return &body[DeadLetters]{DeadLetters{append([]webhook.Letter{}, letters...)}}, nil
		})
	huma.Register(s.api, op("replayDeadLetter", http.MethodPost, "/v1/webhooks/{name}/dead/{letter}/replay", "Deliver an event once more", http.StatusNoContent),
		managing(s, func(ctx context.Context, owner string, in *letterPath) error {
			return s.webhooks.Replay(ctx, owner, in.Name, in.Letter)
		}))
	huma.Register(s.api, op("dropDeadLetter", http.MethodDelete, "/v1/webhooks/{name}/dead/{letter}", "Drop an event that was not delivered", http.StatusNoContent),
		managing(s, func(_ context.Context, owner string, in *letterPath) error {
			return s.webhooks.Drop(owner, in.Name, in.Letter)
		}))
}

// managing returns the handler of an operation that changes webhooks. A webhook outlives the credentials with which it was
// added, so who may only observe may not.
func managing[I any](s *Server, do func(ctx context.Context, owner string, in *I) error) func(context.Context, *I) (*struct{}, error) {
	return func(ctx context.Context, in *I) (*struct{}, error) {
		ctx, cancel := s.patience(ctx)
		defer cancel()
		c := clientOf(ctx)
		if c.who.reach != proxy.ReachPolicy {
			return nil, problem(http.StatusForbidden, "this token may only observe: a webhook takes one with the scope control")
		}
		if err := do(ctx, c.session.Identity().Name, in); err != nil {
			return nil, ofHook(err)
		}
		return nil, nil
	}
}

func (s *Server) listWebhooks(ctx context.Context, _ *struct{}) (*body[WebhookList], error) {
	out := WebhookList{Webhooks: []WebhookStatus{}}
	for _, h := range s.webhooks.List(clientOf(ctx).session.Identity().Name) {
		out.Webhooks = append(out.Webhooks, statusOf(ctx, &h))
	}
	return &body[WebhookList]{out}, nil
}

func (s *Server) getWebhook(ctx context.Context, in *hookPath) (*body[WebhookStatus], error) {
	for _, h := range s.webhooks.List(clientOf(ctx).session.Identity().Name) {
		if h.Name == in.Name {
			return &body[WebhookStatus]{statusOf(ctx, &h)}, nil
		}
	}
	return nil, ofHook(webhook.ErrNone)
}

// statusOf returns a webhook as its owner may see it. URL, template and users can have secrets, which are not for a token
// that may only observe.
func statusOf(ctx context.Context, h *webhook.Status) WebhookStatus {
	shown := webhookOf(&h.Hook)
	if clientOf(ctx).who.reach != proxy.ReachPolicy {
		shown.URL, shown.Template, shown.Users = h.Receiver(), "", nil
	}
	return WebhookStatus{
		Webhook: shown, Delivered: h.Delivered, Failed: h.Failed, Dead: h.Dead, Letters: h.Letters, Waiting: h.Waiting, Failure: h.Failure,
		Disabled: h.Disabled, Why: h.Why, NoRoom: h.NoRoom,
	}
}

func webhookOf(h *webhook.Hook) Webhook {
	return Webhook{h.Name, h.WithoutPassword(), h.Devices, h.Types, h.Format, h.Template, h.ContentType, h.Users, h.Secrets}
}

func (s *Server) addWebhook(ctx context.Context, in *struct{ Body Webhook }) (*createdWebhook, error) {
	var made webhook.Hook
	add := managing(s, func(ctx context.Context, owner string, in *struct{ Body Webhook }) (err error) {
		h := webhook.Hook{
			Name: in.Body.Name, URL: in.Body.URL, Types: in.Body.Types, Format: in.Body.Format, Template: in.Body.Template, ContentType: in.Body.ContentType,
			Users: in.Body.Users, Secrets: in.Body.Secrets, Owner: owner, By: s.auth.standing(&clientOf(ctx).who),
		}
		for _, written := range in.Body.Devices {
			if isPattern(written) {
				if err := checkPattern(written); err != nil {
					return err
				}
			} else { // a number, which the client may write in its own way
				v, err := clientOf(ctx).session.View(written)
				if err != nil {
					return s.explain(ctx, written, err)
				}
				written = v.Device
			}
			h.Devices = append(h.Devices, written)
		}
		if kind := unknownType(h.Types); kind != "" {
			return problem(http.StatusUnprocessableEntity, "types %s", noType(kind))
		}
		made, err = s.webhooks.add(ctx, h)
		return err
	})
	if _, err := add(ctx, in); err != nil {
		return nil, err
	}
	return &createdWebhook{Location: "/v1/webhooks/" + made.Name, Cache: noStore, Body: webhookOf(&made)}, nil
}

// ofHook converts an error about a webhook into a problem.
func ofHook(err error) error {
	var p *Problem
	var faults webhook.Faults
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &faults):
		p = problem(http.StatusUnprocessableEntity, "the webhook cannot be used: %s %s", faults[0].Key, faults[0].Text)
		for _, f := range faults {
			p.Errors = append(p.Errors, f.Key+" "+f.Text)
		}
		return p
	case errors.Is(err, webhook.ErrNone):
		return problem(http.StatusNotFound, "you have no such webhook, or it has no such dead letter")
	case errors.Is(err, webhook.ErrExists):
		return problem(http.StatusConflict, "you have a webhook of this name: remove it first, or choose another name. Its secret is in the first response only")
	case errors.Is(err, record.ErrFull):
		p = problem(http.StatusTooManyRequests, "there is no room for the events of this webhook: one client can have %d patterns of devices, and the proxy as many patterns and devices as it can record; name fewer, or remove another webhook", record.MostPatterns)
		p.retry = roomAgain
		return p
	case errors.Is(err, webhook.ErrTooMany):
		return problem(http.StatusTooManyRequests, "you have as many webhooks as the proxy takes")
	}
	return problem(http.StatusServiceUnavailable, "%v", err)
}
