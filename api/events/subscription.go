package events

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
)

// Wish is what a subscriber asks for.
type Wish struct {
	Who      string            // the client, whose share of the patterns is limited; "": the configuration
	Devices  []string          // canonical numbers; the subscriber may observe them
	Patterns []string          // of devices; it gets events of those that it may observe
	Spelled  map[string]string // how it writes devices, by canonical number, where that differs
	Types    []string          // of events; none: all
	Link     string            // "": all
	After    *uint64           // the number of the last event that it has; nil: it begins now
	Snapshot bool              // it begins with the calls that there are, and gets them again if events are missing. With After, only then
	// Rights returns what it may observe now. It is called before each delivery, by one goroutine at a time.
	Rights func() Rights
	// Wake is called when there is something to read, after Next returned nothing. It must not block.
	Wake func()
}

// Rights is what a subscriber may observe by the rules of one moment. They are equal (==) until the rules change.
type Rights interface {
	// MayObserve reports whether it may observe a device, by its canonical number.
	MayObserve(device string) bool
}

// Event is an event as a subscriber gets it.
type Event struct {
	Seq  uint64
	Type string
	Data []byte // JSON; not to be changed
}

// Subscription is a stream of events, from [Recorder.Subscribe]. Next is called by one goroutine at a time.
type Subscription struct {
	recorder *Recorder
	want     Wish
	devices  map[string]bool // of want; nil: they are few
	patterns *matches        // of want; nil: there are none
	release  func()

	// of the goroutine that calls Next
	at     uint64  // the last event that was read from the log or handed over
	first  []Event // to be delivered before all others
	caught bool    // new events come to waiting
	due    *look   // its snapshots are to be delivered, before the events that follow it
	rights Rights

	from uint64 // new events are those after this; guarded by the hub

	mu      sync.Mutex
	waiting []eventlog.Entry
	octets  int
	slow    bool
	closed  bool
	asleep  bool // Next has returned nothing since the last Wake
}

// The room of a subscription that has caught up.
const (
	maxWaiting       = 2000
	maxWaitingOctets = 4 << 20
	settleTime       = 5 * time.Second // that a subscription waits for monitors to start
)

// How often a client may begin or change streams. A stream counts once, and once more for each of its patterns.
const (
	beginsPerSecond = 100
	mostBegins      = 2000 // at once
)

// Subscribe prepares a stream and begins it.
func (r *Recorder) Subscribe(ctx context.Context, want Wish) (*Subscription, error) {
	s, err := r.Prepare(ctx, want)
	if err != nil {
		return nil, err
	}
	if err := s.Begin(ctx, nil); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Prepare has the wanted devices recorded, and waits a few seconds for the switch to accept their monitors. Begin begins
// the stream; Close ends it in any case. The error is ErrFull, ErrOften or ErrClosed, or of ctx.
func (r *Recorder) Prepare(ctx context.Context, want Wish) (*Subscription, error) {
	if want.Who != "" && !r.begun.TakeN(want.Who, 1+len(want.Patterns), beginsPerSecond, mostBegins, time.Now()) {
		return nil, ErrOften
	}
	settled, release, err := r.want(ctx, want.Who, want.Devices, want.Patterns)
	if err != nil {
		return nil, err
	}
	wait := time.NewTimer(settleTime)
	defer wait.Stop()
	select {
	case <-settled:
	case <-wait.C:
	case <-ctx.Done():
		release()
		return nil, ctx.Err()
	}
	s := &Subscription{recorder: r, want: want, release: release, rights: want.Rights(), asleep: true}
	if len(want.Devices) > fewDevices {
		s.devices = map[string]bool{}
		for _, device := range want.Devices {
			s.devices[device] = true
		}
	}
	if len(want.Patterns) > 0 {
		s.patterns = r.roster.matches(want.Patterns)
	}
	r.hub.open.Add(1)
	return s, nil
}

// Begin begins the stream after want.After; or in the place of another stream, which Next of that is not called during,
// where that one is; or now. The first event is [Ready], or [Gap] if events are missing. With want.Snapshot, snapshots
// follow: of each device that is wanted by its number, and, of those that match a pattern, of each with calls, or of all
// if events are missing. Those that follow the other stream stand where they belong between the events. The error is
// ErrClosed, or of ctx.
func (s *Subscription) Begin(ctx context.Context, before *Subscription) error {
	after, gone := s.want.After, uint64(0) // the last event that is gone
	if after == nil && before != nil {
		at := before.at
		after = &at
	}
	if after != nil {
		s.at = *after
		if first, last := s.recorder.cfg.Events.Bounds(); s.at != 0 && (s.at > last || s.at+1 < first) {
			gone = first - 1
		}
	}
	now, err := s.look(ctx, s.rights, gone > 0)
	if err != nil {
		return err
	}
	if s.want.Snapshot && (s.want.After == nil || gone > 0) {
		s.due = now
		gone = min(gone, 1) * now.at // the snapshots stand for all events before them
	}
	switch {
	case gone > 0:
		s.first = append(s.first, s.missing(*after+1, gone))
		s.at = gone
	case after == nil:
		s.at = now.at
	}
	devices := append([]string{}, s.want.Patterns...)
	for _, device := range s.want.Devices {
		devices = append(devices, s.spell(device))
	}
	s.first = append(s.first, s.own(Ready, func(h Head) any { return Beginning{h, devices, now.waiting, now.refused} }))
	return nil
}

// CallsOf returns the calls of a device, by its canonical number, if it is watched and its book is complete.
func (r *Recorder) CallsOf(ctx context.Context, device string) (calls []Call, ok bool) {
	err := r.do(ctx, func() {
		if w := r.watches[device]; w != nil && w.state == live {
			calls, ok = w.list(), true
		}
	})
	return calls, ok && err == nil
}

// Next returns the next events, at most so many, that the subscriber may get at this moment. If it returns none, the
// subscriber waits for Wake. Streams of one client that catch up take turns, a step of readAtOnce events of the log
// each. The error is ErrSlow or ErrClosed.
func (s *Subscription) Next(most int) ([]Event, error) {
	if err := s.review(); err != nil {
		return nil, err
	}
	for {
		if n := min(most, len(s.first)); n > 0 {
			events := s.first[:n:n]
			if s.first = s.first[n:]; len(s.first) == 0 {
				s.first = nil
			}
			return events, nil
		}
		if s.caught {
			events, more, err := s.take(most)
			if err != nil || len(events) > 0 || !more {
				return events, err
			}
			continue
		}
		if !s.recorder.turns.take(s) {
			return nil, nil
		}
		events, err := s.step(most)
		s.recorder.turns.give(s)
		if err != nil || len(events) > 0 {
			return events, err
		}
		if len(s.first) == 0 && !s.caught {
			s.want.Wake() // to go on after the subscriber has done what else there is
			return nil, nil
		}
	}
}

// step reads a piece of the log.
func (s *Subscription) step(most int) (events []Event, err error) {
	if s.due != nil && s.at >= s.due.at {
		s.snapshots()
		return nil, nil
	}
	s.recorder.steps.Add(1)
	entries, gap, err := s.recorder.cfg.Events.Read(s.at, readAtOnce)
	switch {
	case err != nil:
		return nil, ErrClosed
	case gap:
		first, _ := s.recorder.cfg.Events.Bounds()
		if len(entries) > 0 {
			first = entries[0].Seq
		}
		return s.lose(first - 1)
	case len(entries) == 0 && s.due != nil:
		s.snapshots()
	case len(entries) == 0:
		s.caught = s.recorder.hub.caughtUp(s)
	}
	for _, e := range entries {
		if s.due != nil && e.Seq > s.due.at {
			s.at = s.due.at
			break
		}
		s.at = e.Seq
		if s.wants(s.recorder.hub.about(e)) {
			events = s.appendEvent(events, e)
		}
		if len(events) >= most {
			break
		}
	}
	return events, nil
}

// lose goes on after events that are missing, up to a number.
func (s *Subscription) lose(to uint64) ([]Event, error) {
	if s.want.Snapshot {
		now, err := s.look(context.Background(), s.rights, true)
		if err != nil {
			return nil, ErrClosed
		}
		s.due, to = now, now.at
	}
	gap := s.missing(s.at+1, to)
	s.at = to
	return []Event{gap}, nil
}

// take returns events that were handed over.
func (s *Subscription) take(most int) (events []Event, more bool, err error) {
	s.mu.Lock()
	entries := s.waiting
	if len(entries) > most {
		entries = entries[:most]
		s.waiting = s.waiting[most:]
		for _, e := range entries {
			s.octets -= len(e.Data)
		}
	} else {
		s.waiting, s.octets = nil, 0
	}
	switch {
	case s.slow:
		err = ErrSlow
	case s.closed || s.recorder.hub.over.Load():
		err = ErrClosed
	default:
		s.asleep = len(entries) == 0
	}
	s.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	for _, e := range entries {
		if e.Kind == lack {
			s.uncatch()
			return events, true, nil
		}
		events = s.appendEvent(events, e)
		s.at = e.Seq
	}
	return events, len(entries) > 0, nil
}

// lack is the kind of an entry that stands for those that are missing.
const lack = "lack"

// uncatch has the subscription read the log again after the last event that it has got.
func (s *Subscription) uncatch() {
	s.recorder.hub.leave(s)
	s.mu.Lock()
	s.waiting, s.octets = nil, 0
	s.mu.Unlock()
	s.caught = false
}

// offer hands an event over, and reports whether the subscriber must be woken.
func (s *Subscription) offer(e *happened) bool {
	return e.Seq > s.from && s.wants(e) && s.put(e.Entry)
}

// lacks hands over that events are missing.
func (s *Subscription) lacks() { s.put(eventlog.Entry{Kind: lack}) }

func (s *Subscription) put(e eventlog.Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slow || s.closed {
		return false
	}
	if len(s.waiting) >= maxWaiting || s.octets+len(e.Data) > maxWaitingOctets && len(s.waiting) > 0 {
		s.slow, s.waiting = true, nil
	} else {
		s.waiting = append(s.waiting, e)
		s.octets += len(e.Data)
	}
	woken := s.asleep
	s.asleep = false
	return woken
}

// wants reports whether the subscriber asked for an event.
func (s *Subscription) wants(e *happened) bool {
	if e.Kind == Gap {
		return true
	}
	return s.matches(e.Device, e.number) && (len(s.want.Types) == 0 || slices.Contains(s.want.Types, e.Kind)) && (s.want.Link == "" || e.link() == s.want.Link)
}

// fewDevices are searched one by one: a map would take more memory.
const fewDevices = 8

// names reports whether the subscriber asks for a device by its number.
func (s *Subscription) names(device string) bool {
	if s.devices == nil {
		return slices.Contains(s.want.Devices, device)
	}
	return s.devices[device]
}

// matches reports whether the subscriber asks for a device, which has a number in the roster.
func (s *Subscription) matches(device string, number int) bool {
	return device == "" || s.names(device) || s.patterns != nil && s.patterns.has(device, number)
}

// appendEvent appends an event, if the subscriber may get it.
func (s *Subscription) appendEvent(events []Event, e eventlog.Entry) []Event {
	if e.Device != "" && !s.rights.MayObserve(e.Device) {
		return events
	}
	return append(events, Event{Seq: e.Seq, Type: e.Kind, Data: s.written(e)})
}

// own makes an event that is not in the log.
func (s *Subscription) own(kind string, event func(Head) any) Event {
	h := Head{ID: strconv.FormatUint(s.at, 10), Seq: s.at, Time: stamp(time.Now()), Type: kind}
	return Event{Seq: s.at, Type: kind, Data: encode(event(h))}
}

func (s *Subscription) missing(from, to uint64) Event {
	m := Missing{Head: Head{ID: strconv.FormatUint(to, 10), Seq: to, Time: stamp(time.Now()), Type: Gap}, Reason: "these events are not kept any more"}
	if from <= to {
		m.From, m.To = strconv.FormatUint(from, 10), m.ID
	}
	return Event{Seq: to, Type: Gap, Data: encode(m)}
}

// Heartbeat returns a heartbeat. Its number is the last one before the next event, so a stream can resume after it.
func (s *Subscription) Heartbeat() Event {
	s.recorder.hub.advance(s)
	return s.own(Heartbeat, func(h Head) any { return Sign{Head: h} })
}

// Slow returns the last event of a stream that ended with ErrSlow.
func (s *Subscription) Slow() Event {
	return s.own(Slow, func(h Head) any { return Sign{h, ErrSlow.Error()} })
}

// End returns the last event of a stream that ends for a reason.
func (s *Subscription) End(reason string) Event {
	return s.own(End, func(h Head) any { return Sign{h, reason} })
}

// Close ends the stream. Wake may be called once more.
func (s *Subscription) Close() {
	s.mu.Lock()
	closed := s.closed
	s.closed, s.waiting = true, nil
	s.mu.Unlock()
	if closed {
		return
	}
	s.recorder.turns.give(s)
	s.recorder.hub.leave(s)
	s.recorder.hub.open.Add(-1)
	s.release()
}
