package freeswitch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// LinkConfig configures a [Link]. Zero fields take the defaults in the comments.
type LinkConfig struct {
	Addresses  []string      // host or host:port; default port 8021
	TLS        gate.TLS      // of a TLS tunnel before the event socket; nil means none
	User       string        // directory user with rights of its own (esl-allowed-api); "" uses the event socket's password
	Password   string        // FreeSWITCH is installed with "ClueCon"
	Domain     string        // directory domain; a telephone is user/NUMBER@DOMAIN
	Domains    []string      // further domains, whose telephones are devices NUMBER@DOMAIN
	Context    string        // dialplan context for calls; default "default"
	RingTime   time.Duration // maximum ringing time of the calling telephone; default 30 s
	Timeout    time.Duration // for the reply to a command; default 10 s
	Heartbeat  time.Duration // interval of status requests; default 30 s
	DialTime   time.Duration // for one address; default 10 s
	Lag        time.Duration // how long FreeSWITCH's lists may be behind its events: it writes them to a database
	AutoAnswer string        // channel variable that makes the calling telephone answer; default sip_auto_answer=true
	Answer     string        // how telephones are made to answer: AnswerTalk (default), AnswerKeys or AnswerAuto
	Models     []Model       // for AnswerKeys; the first match counts
	Profile    string        // sofia profile of telephones that registered before the link; default internal
	Outside    string        // dial string with {number} for devices outside the directory; "" means there are none

	Queues      func(number string) bool // numbers at which FreeSWITCH answers and queues calls; nil means none
	QueuePrefix string                   // prefix of queue device numbers
	TrunkPrefix string                   // prefix of gateway device numbers
	ParkLot     string                   // of mod_valet_parking; default csta

	Messages   map[string]string // file or stream for each message name of PlayMessage
	Sounds     string            // folder of other messages; "" means FreeSWITCH's own
	Recordings string            // folder on FreeSWITCH's host for RecordMessage; "" disables the service

	Log *slog.Logger
	Tap *trace.Tap // keeps what passes over the event socket; nil: nobody wants it
}

// Link is a link to one FreeSWITCH. It implements proxy.Link.
type Link struct {
	cfg   LinkConfig
	watch proxy.Monitors
	inbox proxy.Inbox
	ready atomic.Bool // accepts requests
	hush  share.LogLimit[string]

	// The fields below belong to the inbox's goroutine.
	socket   *socket
	channels map[string]*channel
	calls    map[string]*call
	parties  map[string]map[*channel]int // by number and trunk, with the sequence number of each connection
	arrivals int                         // sequence number of the last connection
	before   []*former                   // channels older than the link, until all are known
	earlier  map[string]*channel         // those of the last connection, until then
	reading  bool                        // until then, events wait
	unread   []event                     // that wait
	loops    map[string]string           // channels of mod_loopback, with those that call by them
	later    *backlog                    // events that wait
	bridges  []bridge                    // channels that FreeSWITCH is connecting
	requests []request                   // that wait for that
	awaited  map[string]*awaited         // calls that services place, by identifier
	parts    map[string]int              // waiting calls by queue device
	devices  map[string]bool             // known devices: whether in service
	contacts map[string][]string         // Call-IDs of the registrations of each device
	leaving  map[string]time.Time        // devices of which a registration has ended: when FreeSWITCH knows whether there are others
	profiles map[string]profile          // of registered devices
	features map[string]*settings        // of devices for which they were needed
	waiting  map[string]bool             // devices with waiting messages
	played   bool                        // FreeSWITCH reports the end of applications
}

var _ proxy.ConnectionKeeper = (*Link)(nil)

// KeepsConnections implements proxy.ConnectionKeeper: every service looks connections up by
// callID and device ([Link.find]).
func (*Link) KeepsConnections() {}

// NewLink returns a link. It connects when Run is called. It fails if a value cannot be used in
// commands.
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
	for _, word := range append(slices.Clone(cfg.Domains), cfg.Domain, cfg.Context, cfg.Profile, cfg.ParkLot, "1"+cfg.User, "1"+cfg.QueuePrefix, "1"+cfg.TrunkPrefix) {
		if !words.MatchString(word) {
			return nil, fmt.Errorf("domain, context, profile, park lot, user and prefixes must not have blanks or quotes, and the domain must be set: %q", word)
		}
	}
	for _, text := range append(slices.Collect(maps.Values(cfg.Messages)), cfg.Sounds, cfg.Recordings, cfg.Outside) {
		if text != "" && !configured(text).ok {
			return nil, fmt.Errorf("messages, folders and the outside dial string must not have blanks or apostrophes: %q", text)
		}
	}
	if strings.ContainsAny(cfg.Password, "\r\n") {
		return nil, errors.New("the password must be one line")
	}
	if !variables(cfg.AutoAnswer).ok {
		return nil, errors.New("auto-answer must be channel variables, such as sip_auto_answer=true")
	}
	return &Link{cfg: cfg}, nil
}

// subscription is the command that subscribes to events.
const subscription = "event plain CHANNEL_CREATE CHANNEL_PROGRESS CHANNEL_PROGRESS_MEDIA CHANNEL_ANSWER CHANNEL_BRIDGE CHANNEL_HOLD CHANNEL_UNHOLD " +
	"CHANNEL_PARK CHANNEL_HANGUP DTMF PLAYBACK_START PLAYBACK_STOP RECORD_START RECORD_STOP MESSAGE_WAITING PHONE_FEATURE_SUBSCRIBE BACKGROUND_JOB " +
	"CUSTOM sofia::register sofia::unregister sofia::expire sofia::gateway_state sofia::gateway_delete callcenter::info fifo::info valet_parking::info " +
	"conference::maintenance csta::queue csta::trunk csta::forward"

// Run implements proxy.Link: it connects, logs in, and serves until the connection fails,
// FreeSWITCH stops responding, or ctx ends.
func (l *Link) Run(ctx context.Context, up proxy.Upcalls) error {
	nc, err := gate.Dial(ctx, l.cfg.Addresses, "8021", l.cfg.TLS, l.cfg.DialTime)
	if err != nil {
		return err
	}
	l.cfg.Log.Info("connected", "address", nc.RemoteAddr().String())
	return l.serve(ctx, nc, up)
}

// serve logs in, and serves until the connection ends.
func (l *Link) serve(ctx context.Context, nc net.Conn, up proxy.Upcalls) error {
	l.begin(up)
	defer l.watch.Reset(nil)
	deliver := l.inbox.Open()
	s := newSocket(nc, l.cfg.Timeout, l.cfg.Log, l.cfg.Tap, func(e event) { deliver(func() { l.receive(e) }) })
	l.inbox.Guard(s.Close)
	l.socket = s
	ended := make(chan error, 1)
	go func() { // the inbox waits for it
		ended <- s.Run(ctx, s.read, func(ctx context.Context) error { return l.keep(ctx, s, up) }, nil)
	}()
	err := l.inbox.Run(ended)
	l.ready.Store(false)
	l.refuseRequests()
	return err
}

// begin resets the state for a new connection.
func (l *Link) begin(up proxy.Upcalls) {
	l.watch.Reset(up)
	for _, ch := range l.channels {
		ch.quiet()
	}
	if !l.reading { // it had read all channels
		l.earlier = l.channels
	}
	l.reading, l.unread = true, nil
	l.channels, l.calls, l.awaited = map[string]*channel{}, map[string]*call{}, map[string]*awaited{}
	l.loops, l.later = map[string]string{}, newBacklog()
	l.parties, l.before = map[string]map[*channel]int{}, nil
	l.parts, l.devices, l.profiles = map[string]int{}, map[string]bool{}, map[string]profile{}
	l.contacts, l.leaving = map[string][]string{}, map[string]time.Time{}
	l.features, l.waiting, l.played = map[string]*settings{}, map[string]bool{}, false
}

// keep logs in, reads the current state, and sends heartbeats until ctx ends.
func (l *Link) keep(ctx context.Context, s *socket, up proxy.Upcalls) error {
	patience := time.NewTimer(l.cfg.Timeout)
	defer patience.Stop()
	select {
	case <-s.greeted:
	case <-patience.C:
		return fmt.Errorf("no event socket greeting: %w", gate.ErrTimeout)
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
		return fmt.Errorf("subscribing to events: %w", err)
	}
	if !gate.Sleep(ctx, l.cfg.Lag) { // the lists have what happened before the subscription
		return ctx.Err()
	}
	if err := begins(ctx, l, s, "channels", maxChannels, l.learn, l.learnt); err != nil {
		return fmt.Errorf("listing channels: %w", err)
	}
	registered := func(r registration) { l.appears(l.deviceOf(string(r.User), string(r.Realm)), string(r.CallID)) }
	if err := begins(ctx, l, s, "registrations", maxDevices, registered, func(done func(error)) { done(nil) }); err != nil {
		return fmt.Errorf("listing registrations: %w", err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.ready.Store(true)
	up.Ready()
	if err := l.examine(s); err != nil {
		return err
	}
	beat, second := time.NewTicker(l.cfg.Heartbeat), time.NewTicker(time.Second)
	defer beat.Stop()
	defer second.Stop()
	for {
		select {
		case now := <-second.C:
			l.inbox.Post(func() {
				l.expire(now)
				l.hurry(now)
			})
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

// report logs something FreeSWITCH can cause repeatedly, at most one line a second for each kind.
func (l *Link) report(level slog.Level, kind, text string, attributes ...any) {
	l.hush.Log(l.cfg.Log, level, text+" "+kind, text, attributes...)
}
