import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { createNotificationStore } from '../../client/index.js'
import { App } from './app.js'
import { createConversation } from './conversation.js'
import { createRedisWatch } from './redis-watch.js'

const root = document.querySelector('#root')
if (root === null) throw new Error('The page has no #root')

// The session is the browser's, so its tabs are one user
const notifications = createNotificationStore({ name: 'demo' })
notifications.connect({ url: '/api/events' })

const redis = createRedisWatch()
const conversation = createConversation(redis.isAway)
createRoot(root).render(<StrictMode><App conversation={conversation} notifications={notifications} redis={redis} /></StrictMode>)
