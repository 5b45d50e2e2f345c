package pipefile

import (
	"path/filepath"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/marketprism/marketprism/runtime/sign"
	"github.com/marketprism/marketprism/sdk/schema"
)

var credentialsSchema = schema.Attributes{
	{Name: "key", Type: schema.String, Required: true, Sensitive: true, Doc: "the name of the API key, as the venue gave it"},
	{Name: "secret", Type: schema.String, Sensitive: true, Doc: "what signs: the API key's secret, or a private key as PEM text"},
	{Name: "secret_file", Type: schema.String, Doc: "a file with the secret, mode 0600, in place of secret"},
	{Name: "passphrase", Type: schema.String, Sensitive: true, Doc: "of the API key, where the venue has one"},
}

// credentials reads what a source logs in with. They are no attributes of the
// plugin: nothing of them is in the values that it is given.
func (p *parser) credentials(b *hclsyntax.Block, s *Source) {
	c := p.one(b.Body, "credentials")
	if c == nil {
		return
	}
	at := fromHCL(c.DefRange())
	s.Ranges["credentials"] = at
	p.noBlocks(c.Body, "credentials")
	d, diags := p.decode(block{what: "credentials", body: c.Body, schema: credentialsSchema})
	p.add(diags...)
	bad := diags.HasErrors()
	for _, name := range []string{"key", "secret", "secret_file", "passphrase"} {
		if v, ok := d.values[name]; ok && v == "" {
			p.add(p.fs.diag(Error, d.ranges[name], "Wrong value for \""+name+"\"", "It is empty."))
			bad = true
		}
	}
	path := d.values.String("secret_file")
	if r := d.ranges["secret_file"]; path != "" && d.values.String("secret") != "" {
		p.add(p.fs.diag(Error, r, "Two secrets", "The secret stands in the block already: give secret or secret_file."))
		bad = true
	}
	if bad {
		return
	}
	secret := []byte(d.values.String("secret"))
	if path != "" {
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.dir, path)
		}
		var err error
		if secret, err = sign.ReadFile(path); err != nil {
			p.add(p.fs.diag(Error, d.ranges["secret_file"], "Secret can't be read", "%v.", err))
			return
		}
	}
	s.Credentials = sign.New([]byte(d.values.String("key")), secret, []byte(d.values.String("passphrase")))
	clear(secret)
}
