// One question on standard input, one answer on standard output, both JSON.
//   {"judge": [{invocation, proofs, executor}]}  ->  for each: null, or the reason for the refusal
//   {"mint": [{chain: [{from, to, subject, command, policy}], invoker, subject, command, args}]}
//                                                ->  for each: {invocation, proofs}
// Tokens are base64, keys are hex seeds. Run by test_iso_ucan.py where iso-ucan is installed.
import { readFileSync } from 'node:fs'
import { DID } from 'iso-did'
import { EdDSASigner } from 'iso-signatures/signers/eddsa.js'
import { Resolver } from 'iso-signatures/verifiers/resolver.js'
import * as EdDSA from 'iso-signatures/verifiers/eddsa.js'
import { Delegation } from 'iso-ucan/delegation'
import { Invocation } from 'iso-ucan/invocation'

const YEAR_2100 = 4102444800
const verifierResolver = new Resolver({ ...EdDSA.verifier })
const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'))
const text = (data) => Buffer.from(data).toString('base64')
const signer = (seed) => EdDSASigner.generate(new Uint8Array(Buffer.from(seed, 'hex')))

async function judge({ invocation, proofs, executor }) {
  const held = new Map()
  try {
    for (const proof of proofs) {
      const delegation = await Delegation.from({ bytes: bytes(proof), verifierResolver })
      held.set(delegation.cid.toString(), delegation)
    }
    await Invocation.from({
      bytes: bytes(invocation),
      audience: await DID.fromString(executor),
      verifierResolver,
      resolveProof: async (cid) => {
        const found = held.get(cid.toString())
        if (!found) throw new Error(`no proof ${cid}`)
        return found
      },
    })
    return null
  } catch (error) {
    return error.message
  }
}

async function mint({ chain, invoker, subject, command, args }) {
  const proofs = []
  for (const link of chain) {
    proofs.push(
      await Delegation.create({
        iss: await signer(link.from),
        aud: link.to,
        sub: link.subject,
        cmd: link.command,
        pol: link.policy,
        exp: YEAR_2100,
      })
    )
  }
  const invocation = await Invocation.create({
    iss: await signer(invoker),
    sub: subject,
    cmd: command,
    args,
    prf: proofs,
    exp: YEAR_2100,
    verifierResolver,
  })
  return { invocation: text(invocation.bytes), proofs: proofs.map((proof) => text(proof.bytes)) }
}

const question = JSON.parse(readFileSync(0, 'utf8'))
const [answer, cases] = 'judge' in question ? [judge, question.judge] : [mint, question.mint]
console.log(JSON.stringify(await Promise.all(cases.map(answer))))
