package events

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// kept is what the recorder remembers in the log's file: what it watches. After a restart it goes on at once.
type kept struct {
	Devices []string            `json:"devices"`
	Wanted  map[string][]string `json:"wanted"` // by pattern: the clients; "": the configuration
}

// Where it is in the file.
const (
	bucket    = "recorder"
	keptValue = "watched"
)

// keeper writes it.
type keeper struct {
	mu    sync.Mutex
	next  *kept // to be written; nil: nothing
	dirty chan struct{}
}

// put has a value written soon.
func (k *keeper) put(v kept) {
	k.mu.Lock()
	k.next = &v
	k.mu.Unlock()
	select {
	case k.dirty <- struct{}{}:
	default:
	}
}

// keepInterval is the shortest time between two writes.
const keepInterval = time.Second

// run writes until ctx ends. What is put then, the recorder writes.
func (k *keeper) run(ctx context.Context, log *eventlog.Log, l *slog.Logger) {
	defer share.Survive(l, "keeping the list of recorded devices", nil)
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.dirty:
		}
		k.write(log, l)
		select {
		case <-ctx.Done():
		case <-time.After(keepInterval):
		}
	}
}

func (k *keeper) write(log *eventlog.Log, l *slog.Logger) {
	k.mu.Lock()
	v := k.next
	k.next = nil
	k.mu.Unlock()
	if v == nil {
		return
	}
	slices.Sort(v.Devices)
	data, err := json.Marshal(v)
	if err == nil {
		err = log.Put(bucket, keptValue, data)
	}
	if err != nil {
		l.Error("could not keep the list of recorded devices", "err", err)
	}
}

// keep has what is watched written down, at most once in keepInterval.
func (r *Recorder) keep() {
	if r.unkept {
		return
	}
	if wait := time.Until(r.keptAt.Add(keepInterval)); wait > 0 {
		r.unkept = true
		time.AfterFunc(wait, func() { r.box.post(r.keepNow) })
		return
	}
	r.keepNow()
}

func (r *Recorder) keepNow() {
	r.unkept, r.keptAt = false, time.Now()
	v := kept{Devices: []string{}, Wanted: map[string][]string{}}
	for device, w := range r.watches {
		if w.wanted > 0 || !w.pattern && w.state != refused {
			v.Devices = append(v.Devices, device)
		}
	}
	for text, p := range r.patterns {
		v.Wanted[text] = slices.Sorted(maps.Keys(p.by))
	}
	r.kept.put(v)
}

// restore begins to watch what was watched before the program ended, and what the configuration names.
func (r *Recorder) restore() {
	data, err := r.cfg.Events.Get(bucket, keptValue)
	var v kept
	if err == nil && data != nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		r.log.Error("could not read the list of recorded devices", "err", err)
	}
	if first, last := r.cfg.Events.Bounds(); first <= last || data != nil {
		r.gap("the proxy was not running")
	}
	for _, text := range r.cfg.Devices {
		if p := r.matching(text, ""); p != nil {
			p.by[""].wanted++
		}
	}
	for text, clients := range v.Wanted {
		for _, who := range clients {
			r.matching(text, who)
		}
	}
	r.cover()
	for _, device := range v.Devices {
		r.watching(device)
	}
}
