package uacsta

// AllCapabilities returns everything that an element's lists may hold.
func AllCapabilities(holder string) Capabilities {
	var all Capabilities
	table := capabilityLists()
	lists := table.holders[holder]
	if lists == nil {
		lists = []later{{name: holder}}
	}
	for _, list := range lists {
		for _, member := range table.lists[list.name] {
			c := Capability{List: list.name, Name: member.name}
			for _, detail := range member.details {
				c.Details = append(c.Details, detail.name)
			}
			all = append(all, c)
		}
	}
	return all
}

// FirstValue returns a valid value of an enumeration, "" for other types.
func FirstValue(name string) string {
	if values := enumerations[name].values; len(values) > 0 {
		return values[0]
	}
	return ""
}
