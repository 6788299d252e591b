package freeswitch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// LinkConfig says where a FreeSWITCH is and how it is used. Zero values take defaults.
type LinkConfig struct {
	Addresses  []string      // host, or host:port; 8021
	TLS        gate.TLS      // of a tunnel before the event socket; nil: none
	User       string        // of the directory, with rights of its own (esl-allowed-api); "": whoever knows the event socket's password
	Password   string        // "ClueCon" is what FreeSWITCH comes with
	Domain     string        // of the directory: a telephone is user/NUMBER@DOMAIN
	Context    string        // of the dialplan that calls are sent into; default
	RingTime   time.Duration // how long the calling telephone may ring; 30 s
	Timeout    time.Duration // for the answer to a command; 10 s
	Heartbeat  time.Duration // the status is asked for at this interval; 30 s
	DialTime   time.Duration // for one address; 10 s
	AutoAnswer string        // channel variable that makes the calling telephone answer by itself; sip_auto_answer=true
	Answer     string        // how telephones are made to answer: AnswerTalk, AnswerKeys or AnswerAuto; AnswerTalk
	Models     []Model       // of telephones, for AnswerKeys; the first that fits
	Profile    string        // of sofia's, where a telephone has not said its own; internal
	Outside    string        // dial string of devices that are none of the directory, with {number}; "": there are none

	Queues      func(number string) bool // numbers at which FreeSWITCH answers and lets calls wait; nil: none
	QueuePrefix string                   // of device numbers of queues, before their name
	TrunkPrefix string                   // of device numbers of gateways
	ParkLot     string                   // of mod_valet_parking; csta

	Messages   map[string]string // what PlayMessage plays by a name
	Sounds     string            // folder of the other messages; "": FreeSWITCH's own
	Recordings string            // folder on FreeSWITCH's machine that RecordMessage writes to; "": it is refused

	Log *slog.Logger
}

// Link is one FreeSWITCH; it implements proxy.Link.
type Link struct {
	cfg   LinkConfig
	watch proxy.Watch
	inbox proxy.Inbox
	ready atomic.Bool // it takes requests
	hush  share.Hush[string]

	// of the goroutine that takes from the inbox
	socket   *socket
	channels map[string]*channel
	calls    map[string]*call
	parties  map[string]map[*channel]int // when connections came, by their number and their trunk
	arrivals int                         // how many have come
	before   []former                    // channels that there were, while the link learns them
	jobs     map[string]*job             // background jobs, by their identifier
	awaited  map[string]*awaited         // channels that are to come, by their identifier
	offers   map[string]string           // channels that mod_callcenter calls an agent for, by the agent
	parts    map[string]int              // how many calls wait in a queue, by its device
	devices  map[string]bool             // that have registered, or are known otherwise: whether they are in service
	profiles map[string]profile          // of devices that have registered
	features map[string]*settings        // of devices, as far as anybody wanted to know
	waiting  map[string]bool             // devices that messages wait for
	played   bool                        // FreeSWITCH is asked to tell when an application ends
}

var _ proxy.ConnectionKeeper = (*Link)(nil)

// KeepsConnections implements proxy.ConnectionKeeper: every service finds its connections by
// callID and device together ([Link.find]).
func (*Link) KeepsConnections() {}

// NewLink makes a link. It connects once Run is called.
func NewLink(cfg LinkConfig) (*Link, error) {
	for p, standard := range map[*string]string{&cfg.Context: "default", &cfg.AutoAnswer: "sip_auto_answer=true", &cfg.Answer: AnswerTalk, &cfg.Profile: "internal", &cfg.ParkLot: "csta"} {
		if *p == "" {
			*p = standard
		}
	}
	for p, standard := range map[*time.Duration]time.Duration{&cfg.RingTime: 30 * time.Second, &cfg.Timeout: 10 * time.Second, &cfg.Heartbeat: 30 * time.Second, &cfg.DialTime: 10 * time.Second} {
		if *p == 0 {
			*p = standard
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	for _, word := range []string{cfg.Domain, cfg.Context, cfg.Profile, cfg.ParkLot, "1" + cfg.User, "1" + cfg.QueuePrefix, "1" + cfg.TrunkPrefix} {
		if !words.MatchString(word) {
			return nil, fmt.Errorf("names must be without blanks and quotes, and the domain must be there: %q", word)
		}
	}
	for _, text := range append(slices.Collect(maps.Values(cfg.Messages)), cfg.Sounds, cfg.Recordings, cfg.Outside) {
		if text != "" && !configured(text).ok {
			return nil, fmt.Errorf("what FreeSWITCH is told must be one word, without apostrophes: %q", text)
		}
	}
	if strings.ContainsAny(cfg.Password, "\r\n") {
		return nil, errors.New("a password of more than one line")
	}
	if !variables(cfg.AutoAnswer).ok {
		return nil, errors.New("auto-answer must be channel variables, such as sip_auto_answer=true")
	}
	return &Link{cfg: cfg}, nil
}

// subscription is what the link wants to be told.
const subscription = "event plain CHANNEL_CREATE CHANNEL_PROGRESS CHANNEL_PROGRESS_MEDIA CHANNEL_ANSWER CHANNEL_BRIDGE CHANNEL_HOLD CHANNEL_UNHOLD " +
	"CHANNEL_HANGUP DTMF PLAYBACK_START PLAYBACK_STOP RECORD_START RECORD_STOP MESSAGE_WAITING PHONE_FEATURE_SUBSCRIBE BACKGROUND_JOB " +
	"CUSTOM sofia::register sofia::unregister sofia::expire sofia::gateway_state callcenter::info fifo::info valet_parking::info " +
	"conference::maintenance csta::queue csta::trunk csta::forward"

// Run implements proxy.Link: it connects, logs in, and serves until the connection fails,
// FreeSWITCH does not answer, or ctx ends.
func (l *Link) Run(ctx context.Context, up proxy.Upcalls) error {
	nc, err := gate.Dial(ctx, l.cfg.Addresses, "8021", l.cfg.TLS, l.cfg.DialTime)
	if err != nil {
		return err
	}
	l.cfg.Log.Info("connected", "address", nc.RemoteAddr().String())
	l.begin(up)
	defer l.watch.Begin(nil)
	deliver := l.inbox.Open()
	s := newSocket(nc, l.cfg.Timeout, l.cfg.Log, func(e event) { deliver(func() { l.told(e) }) })
	l.inbox.Guard(s.Close)
	l.socket = s
	ended := make(chan error, 1)
	go func() { // the inbox waits for it
		ended <- s.Run(ctx, s.read, func(ctx context.Context) error { return l.keep(ctx, s, up) }, nil)
	}()
	err = l.inbox.Run(ended)
	l.ready.Store(false)
	return err
}

// begin forgets what was before.
func (l *Link) begin(up proxy.Upcalls) {
	l.watch.Begin(up)
	for _, ch := range l.channels {
		ch.quiet()
	}
	l.channels, l.calls, l.jobs, l.awaited = map[string]*channel{}, map[string]*call{}, map[string]*job{}, map[string]*awaited{}
	l.parties, l.before = map[string]map[*channel]int{}, nil
	l.offers, l.parts, l.devices, l.profiles = map[string]string{}, map[string]int{}, map[string]bool{}, map[string]profile{}
	l.features, l.waiting, l.played = map[string]*settings{}, map[string]bool{}, false
}

// keep logs in, and asks whether FreeSWITCH is there until ctx ends.
func (l *Link) keep(ctx context.Context, s *socket, up proxy.Upcalls) error {
	patience := time.NewTimer(l.cfg.Timeout)
	defer patience.Stop()
	select {
	case <-s.greeted:
	case <-patience.C:
		return fmt.Errorf("no greeting of an event socket: %w", gate.ErrTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
	login := "auth " + l.cfg.Password
	if l.cfg.User != "" {
		login = "userauth " + l.cfg.User + "@" + l.cfg.Domain + ":" + l.cfg.Password
	}
	if err := s.login(ctx, login); err != nil {
		return err
	}
	if _, err := s.ask(ctx, subscription); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	if err := begins(ctx, l, s, "channels", maxChannels, l.learn, l.learnt); err != nil {
		return fmt.Errorf("channels: %w", err)
	}
	registered := func(r registration) { l.service(string(r.User), true) }
	if err := begins(ctx, l, s, "registrations", maxDevices, registered, func(done func(error)) { done(nil) }); err != nil {
		return fmt.Errorf("registrations: %w", err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.ready.Store(true)
	up.Ready()
	beat, second := time.NewTicker(l.cfg.Heartbeat), time.NewTicker(time.Second)
	defer beat.Stop()
	defer second.Stop()
	for {
		select {
		case now := <-second.C:
			l.inbox.Post(func() { l.expire(now) })
		case <-beat.C:
			if _, err := s.ask(ctx, "api status"); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Features implements proxy.FeatureLister.
func (l *Link) Features(string) uacsta.Features {
	services := []string{
		uacsta.NameMonitorStart, uacsta.NameMonitorStop, uacsta.NameSnapshotCall, uacsta.NameSnapshotDevice, uacsta.NameAnswerCall,
		uacsta.NameClearConnection, uacsta.NameDeflectCall, uacsta.NameHoldCall, uacsta.NameMakeCall, uacsta.NameRetrieveCall,
		uacsta.NameSingleStepTransferCall, uacsta.NameGenerateDigits, uacsta.NameConsultationCall, uacsta.NameAlternateCall, uacsta.NameReconnectCall,
		uacsta.NameTransferCall, uacsta.NameConferenceCall, uacsta.NameSingleStepConferenceCall, uacsta.NameDirectedPickupCall,
		uacsta.NameGroupPickupCall, uacsta.NameParkCall, uacsta.NameMakePredictiveCall, uacsta.NameGetDoNotDisturb, uacsta.NameSetDoNotDisturb,
		uacsta.NameGetForwarding, uacsta.NameSetForwarding, uacsta.NameGetMessageWaitingIndicator, uacsta.NameSetMessageWaitingIndicator,
		uacsta.NamePlayMessage, uacsta.NameStop,
	}
	if l.cfg.Recordings != "" {
		services = append(services, uacsta.NameRecordMessage)
	}
	return uacsta.Features{
		Services: services,
		Events: []string{
			uacsta.NameConferencedEvent, uacsta.NameConnectionClearedEvent, uacsta.NameDeliveredEvent, uacsta.NameDivertedEvent,
			uacsta.NameEstablishedEvent, uacsta.NameFailedEvent, uacsta.NameHeldEvent, uacsta.NameNetworkReachedEvent, uacsta.NameOriginatedEvent,
			uacsta.NameQueuedEvent, uacsta.NameRetrievedEvent, uacsta.NameServiceInitiatedEvent, uacsta.NameTransferedEvent,
			uacsta.NameBackInServiceEvent, uacsta.NameOutOfServiceEvent, uacsta.NameDtmfDetectedEvent, uacsta.NameDoNotDisturbEvent,
			uacsta.NameForwardingEvent, uacsta.NameMessageWaitingEvent, uacsta.NamePlayEvent, uacsta.NameRecordEvent, uacsta.NameStopEvent,
		},
	}
}

// say logs what may happen again and again: one line a second for each kind.
func (l *Link) say(level slog.Level, kind, text string, attributes ...any) {
	l.hush.Log(l.cfg.Log, level, text+" "+kind, text, attributes...)
}
