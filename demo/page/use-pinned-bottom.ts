import { useEffect } from 'react'

const NEAR_PX = 120

/** While the reader is at the end of the page, the page follows what is written. Who has scrolled up stays there. */
export function usePinnedBottom (): void {
  useEffect(() => {
    const page = document.documentElement
    let isPinned = true
    const look = (): void => { isPinned = page.scrollHeight - page.scrollTop - page.clientHeight < NEAR_PX }
    const observer = new ResizeObserver(() => { if (isPinned) page.scrollTop = page.scrollHeight })
    observer.observe(document.body)
    window.addEventListener('scroll', look, { passive: true })
    return () => {
      observer.disconnect()
      window.removeEventListener('scroll', look)
    }
  }, [])
}
