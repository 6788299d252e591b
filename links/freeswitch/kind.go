package freeswitch

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// LinkKind is the kind of links to the event socket of FreeSWITCH.
var LinkKind = kind.LinkOf[LinkSettings]{Type: "freeswitch", Check: checkLink, Build: buildLink}.Kind()

// LinkSettings holds the keys of an entry of links with type freeswitch.
type LinkSettings struct {
	kind.Peer
	kind.Secure
	kind.Times

	Session    kind.Login    `yaml:"session"`
	Domain     string        `yaml:"domain"`
	Domains    []string      `yaml:"domains"`
	Context    string        `yaml:"context"`
	AutoAnswer string        `yaml:"auto-answer"`
	Answer     string        `yaml:"answer"`
	RingTime   time.Duration `yaml:"ring-time"`
	Profile    string        `yaml:"profile"`
	Outside    string        `yaml:"outside"`
	Queues     struct {
		Numbers []string `yaml:"numbers"`
		Prefix  string   `yaml:"prefix"`
	} `yaml:"queues"`
	TrunkPrefix string   `yaml:"trunk-prefix"`
	ParkLot     string   `yaml:"park-lot"`
	Messages    messages `yaml:"messages"`
}

// messages holds the key messages: what FreeSWITCH plays and records.
type messages struct {
	Folder     string `yaml:"folder"`
	Recordings string `yaml:"recordings"`
	Named      []struct {
		Name string `yaml:"name"`
		Play string `yaml:"play"`
	} `yaml:"named"`
}

// oneWord matches text that a command can carry.
var oneWord = regexp.MustCompile(`^[A-Za-z0-9*#+_.-]{1,64}$`)

func checkLink(l *LinkSettings, s *config.Section) {
	l.Peer.Check(s)
	if !oneWord.MatchString(l.Domain) {
		s.Fault("domain", "must be the domain of its directory, such as \"pbx.example.com\": the part after the @ of its telephones")
	}
	for _, domain := range l.Domains {
		if !oneWord.MatchString(domain) || domain == l.Domain {
			s.Fault("domains", "must be further domains of its directory, such as \"other.example.com\"")
		}
	}
	for key, value := range map[string]string{"session.user": l.Session.User, "context": l.Context, "profile": l.Profile, "park-lot": l.ParkLot, "queues.prefix": l.Queues.Prefix, "trunk-prefix": l.TrunkPrefix} {
		if value != "" && !oneWord.MatchString(value) {
			s.Fault(key, "must be one word of letters, digits and . _ - + * #")
		}
	}
	if l.Answer != "" {
		s.OneOf("answer", l.Answer, AnswerTalk, AnswerKeys, AnswerAuto)
	}
	if l.Outside != "" && (!strings.Contains(l.Outside, "{number}") || strings.ContainsAny(l.Outside, " \r\n") || strings.Contains(l.Outside, "${")) {
		s.Fault("outside", "must be a dial string with {number} in it, and without ${, such as \"sofia/gateway/trunk1/{number}\"")
	}
	s.Patterns("queues.numbers", l.Queues.Numbers)
	l.Messages.check(s)
	if l.TrunkPrefix != "" && l.TrunkPrefix == l.Queues.Prefix {
		s.Fault("trunk-prefix", "must differ from queues.prefix: a queue and a trunk could have the same number")
	}
	if strings.ContainsAny(l.AutoAnswer, "{}\r\n") || l.AutoAnswer != "" && !strings.Contains(l.AutoAnswer, "=") {
		s.Fault("auto-answer", "must be channel variables, such as sip_auto_answer=true")
	}
	switch {
	case l.Session.Password == "" && l.Session.PasswordFile == "":
		s.Fault("session", "must have the password of the event socket: write password or password-file")
	case l.Session.Password != "" && l.Session.PasswordFile != "":
		s.Fault("session", "write user, and password or password-file with it")
	}
	s.NotNegative(map[string]time.Duration{"ring-time": l.RingTime})
	l.Times.Check(s)
	l.Secure.Check(s)
}

// check checks the values that go into commands, whose words are separated by blanks.
func (m *messages) check(s *config.Section) {
	for key, value := range map[string]string{"folder": m.Folder, "recordings": m.Recordings} {
		if value != "" && (!strings.HasPrefix(value, "/") || strings.ContainsAny(value, " \r\n")) {
			s.Fault("messages."+key, "must be an absolute path on FreeSWITCH's host, without blanks")
		}
	}
	for i, message := range m.Named {
		if message.Name == "" || message.Play == "" || strings.ContainsAny(message.Play, " \r\n") {
			s.Fault(fmt.Sprintf("messages.named[%d]", i), "must have a name, and play, without blanks: a file, or a stream such as tone_stream://%(1000,0,440)")
		}
	}
}

// listLag is how long FreeSWITCH's lists are waited for: on a busy machine they are up to half a second late.
const listLag = time.Second

func buildLink(l *LinkSettings, env *kind.Env) (proxy.Link, error) {
	password, secure, err := kind.Opening(&l.Session, &l.Secure, env.Log)
	if err != nil {
		return nil, err
	}
	cfg := LinkConfig{
		Addresses: l.Addresses, TLS: secure, User: l.Session.User, Password: password, Domain: l.Domain, Domains: l.Domains, Context: l.Context, AutoAnswer: l.AutoAnswer,
		RingTime: l.RingTime, Timeout: l.Timeout, Heartbeat: l.Heartbeat, Lag: listLag, Log: share.Quiet(env.Log), Tap: env.Tap(),
		Answer: l.Answer, Profile: l.Profile, Outside: l.Outside, QueuePrefix: l.Queues.Prefix, TrunkPrefix: l.TrunkPrefix, ParkLot: l.ParkLot,
		Queues: policy.CompileDevices(l.Queues.Numbers).Match,
		Sounds: l.Messages.Folder, Recordings: l.Messages.Recordings, Messages: map[string]string{},
	}
	for _, message := range l.Messages.Named {
		cfg.Messages[message.Name] = message.Play
	}
	models, err := env.Models()
	if err != nil {
		return nil, err
	}
	for _, m := range models {
		cfg.Models = append(cfg.Models, Model{
			Agent: regexp.MustCompile(m.Agent), CSTA: m.CSTA == "notify", // compiles: config has checked it
			Answer: (*Notify)(m.Answer), Resume: (*Notify)(m.Resume),
		})
	}
	return NewLink(cfg)
}
