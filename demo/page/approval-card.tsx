import type { PendingApproval } from './reading.js'

export interface ApprovalCardProps {
  pending: PendingApproval
  isAsked: boolean
  decide: (approved: boolean) => void
}

export function ApprovalCard ({ pending: { title, state, approved }, isAsked, decide }: ApprovalCardProps) {
  const isOpen = state !== 'decided' && isAsked
  return (
    <section className='approval' aria-label='Approval'>
      <p className='title'>{title}</p>
      {isOpen
        ? (
          <p className='choices'>
            <button type='button' disabled={state === 'sending'} onClick={() => { decide(true) }}>Approve</button>
            <button type='button' className='quiet' disabled={state === 'sending'} onClick={() => { decide(false) }}>Deny</button>
          </p>
          )
        : <p className='hint'>{approved === undefined ? 'Decided' : approved ? 'Approved' : 'Denied'}</p>}
    </section>
  )
}
