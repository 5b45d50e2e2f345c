package emulator

// User is who an emulated venue lets in.
type User struct {
	Key, Secret, Passphrase string
	Grants                  string // begins each token that the venue gives out
}

// users are by venue; dialects that check logins add theirs.
var users = map[string]User{}

// Credentials are those of the user whom a venue's emulator lets in; not ok if
// it takes no login.
func Credentials(venue string) (u User, ok bool) {
	u, ok = users[venue]
	return u, ok
}
