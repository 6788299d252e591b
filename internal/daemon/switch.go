package daemon

import (
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/softswitch"
)

// switchConfig returns the configuration of the built-in switch.
func switchConfig(cfg *config.Switch) (softswitch.Config, error) {
	out := softswitch.Config{
		RingCycle: cfg.RingCycle, AlertTime: cfg.AlertTime, PromptTime: cfg.PromptTime, FailTime: cfg.FailTime, ParkTime: cfg.ParkTime, CampOnTime: cfg.CampOnTime,
	}
	for _, e := range cfg.Extensions {
		out.Extensions = append(out.Extensions, softswitch.Extension{
			Number: e.Number, Name: e.Name, Kind: softswitch.Kind(e.Kind), Lines: e.Lines, Phone: softswitch.Behaviour{Answer: e.Answer, Busy: e.Busy},
			Real: e.SIP != nil, Outside: e.Outside, Second: e.Second, Sounds: softswitch.Sounds(e.Sounds),
		})
	}
	for _, g := range cfg.HuntGroups {
		out.HuntGroups = append(out.HuntGroups, softswitch.HuntGroup{
			Number: g.Number, Name: g.Name, Members: g.Members, Order: softswitch.Order(g.Order), Rings: g.Rings,
		})
	}
	for _, q := range cfg.Queues {
		queue := softswitch.Queue{
			Number: q.Number, Name: q.Name, MaxCalls: q.MaxCalls, WaitTime: q.WaitTime, AnswerTime: q.AnswerTime, WrapUp: q.WrapUp, Overflow: q.Overflow,
			Sounds: softswitch.Sounds(q.Sounds),
		}
		for _, a := range q.Agents {
			password, err := kind.Secret(a.Password, a.PasswordFile)
			if err != nil {
				return out, err
			}
			queue.Agents = append(queue.Agents, softswitch.Agent{ID: a.ID, Password: password})
		}
		out.Queues = append(out.Queues, queue)
	}
	for _, t := range cfg.Trunks {
		trunk := softswitch.Trunk{
			Number: t.Number, Name: t.Name, Prefixes: t.Prefixes, Caller: t.Caller, Lines: t.Lines, Inward: map[string]string{},
			Outside: softswitch.Behaviour{Answer: t.Answer, Busy: t.Busy}, Real: t.SIP != nil, Sounds: softswitch.Sounds(t.Sounds),
		}
		for _, in := range t.Inward {
			trunk.Inward[in.Number] = in.To
		}
		out.Trunks = append(out.Trunks, trunk)
	}
	for _, p := range cfg.Park {
		out.ParkDevices = append(out.ParkDevices, softswitch.ParkDevice{Number: p.Number, Sounds: softswitch.Sounds{Music: p.Music}})
	}
	for _, g := range cfg.PickupGroups {
		out.PickupGroups = append(out.PickupGroups, softswitch.PickupGroup(g))
	}
	for _, r := range cfg.Routeing {
		out.Routeing = append(out.Routeing, softswitch.RouteingDevice(r))
	}
	return out, nil
}
