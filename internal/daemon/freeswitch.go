package daemon

import (
	"regexp"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/freeswitch"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// freeSWITCH makes a link to the event socket of a FreeSWITCH.
func (n *Node) freeSWITCH(l config.Link) (proxy.Link, error) {
	password, secure, err := n.opening(l)
	if err != nil {
		return nil, err
	}
	cfg := freeswitch.LinkConfig{
		Addresses: l.Addresses, TLS: secure, User: l.Session.User, Password: password, Domain: l.Domain, Context: l.Context, AutoAnswer: l.AutoAnswer,
		RingTime: l.RingTime, Timeout: l.Timeout, Heartbeat: l.Heartbeat, Log: n.linkLog(l.Name),
		Answer: l.Answer, Profile: l.Profile, Outside: l.Outside, QueuePrefix: l.Queues.Prefix, TrunkPrefix: l.TrunkPrefix, ParkLot: l.ParkLot,
		Queues: func(number string) bool { return policy.MatchDevice(l.Queues.Numbers, number) },
		Sounds: l.Messages.Folder, Recordings: l.Messages.Recordings, Messages: map[string]string{},
	}
	for _, message := range l.Messages.Named {
		cfg.Messages[message.Name] = message.Play
	}
	models, err := config.Models(n.cfg.Telephones.Models)
	if err != nil {
		return nil, err
	}
	for _, m := range models {
		cfg.Models = append(cfg.Models, freeswitch.Model{
			Agent: regexp.MustCompile(m.Agent), CSTA: m.CSTA == "notify", // checked by config
			Answer: (*freeswitch.Notify)(m.Answer), Resume: (*freeswitch.Notify)(m.Resume),
		})
	}
	return freeswitch.NewLink(cfg)
}
